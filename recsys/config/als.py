"""The section of ALS, for both of its solvers."""

from typing import Literal

from pydantic import Field, model_validator

from recsys.config.section import Section

NO_EMBEDDINGS_ON_SPARK = (
    "Spark's ALS cannot start from embeddings (nor keep or be pulled to them): set bert.init to none or bpr and "
    "bert.anchored and bert.freeze_first_iter to false, or runtime.engine.als to local"
)


class AlsConfig(Section):
    """ALS. ``preset: auto`` chooses the fields you do not set by trials on validation."""

    preset: Literal["auto", "default", "normalized", "high_quality", "fast", "sparse_data"] = Field(
        "auto", description="Values of the fields that are not set here; auto tries several."
    )
    solver: Literal["implicit", "native"] = Field(
        "implicit",
        description="implicit: the library, conjugate gradient, CPU or GPU; native: our own kernel, exact, CPU.",
    )
    factors: int = Field(64, ge=1, le=4096, description="Dimensions of a factor vector.")
    regularization: float = Field(0.01, ge=0, description="Weight of |U|^2 + |V|^2 in the loss.")
    regularization_exponent: float = Field(
        0.0,
        ge=0,
        le=2,
        description="native: rows weigh regularization * (entries + unobserved_weight * size of the other "
        "side)^exponent, scaled so that the mean weight stays regularization; 0: all rows alike.",
    )
    regularization_counts: Literal["pairs", "positives"] = Field(
        "pairs",
        description="native: what regularization_exponent counts of a row. pairs: as above; positives: its liked "
        "entries alone, which with exponent 1 is what engine spark solves.",
    )
    unobserved_weight: float = Field(
        1.0, gt=0, le=1, description="native: weight of a pair that was not observed; implicit has 1."
    )
    iterations: int = Field(15, ge=1, description="Alternating sweeps at most.")
    alpha: float = Field(10.0, gt=0, description="How much more an observed pair weighs than an unseen one.")
    confidence_strategy: Literal["direct", "scaled", "legacy"] = Field(
        "scaled", description="C = c | 1 + alpha (c - 1) / 5 | 1 + alpha c, for confidence c in [1, 6]."
    )
    preference: Literal["threshold", "binary", "continuous"] = Field(
        "threshold",
        description="threshold: a disliked pair has preference 0; binary: all observed are liked; "
        "continuous (native): preference (c - 1) / 5.",
    )
    preference_threshold: float | None = Field(
        None,
        description="Confidence below which a pair counts as disliked; None: by rating (not a positive).",
    )
    normalize: bool = Field(False, description="L2-normalise the rows of U and V after training.")
    use_gpu: Literal["auto", "true", "false"] = Field(
        "auto", description="GPU (solver implicit): demand, refuse or if usable."
    )
    validate_every: int = Field(1, ge=1, description="Iterations between looks at the validation split.")
    patience: int = Field(6, ge=1, description="Checks without improvement before an early stop.")
    checkpoint_every: int = Field(5, ge=1, description="Iterations between checkpoints.")

    @model_validator(mode="after")
    def _solver_can(self) -> "AlsConfig":
        problem = self.solver_problem()
        if problem:
            raise ValueError(problem)
        return self

    def solver_problem(self) -> str | None:
        """Return what the chosen solver cannot do of the rest and what to change, or None.

        Asked again where a fit starts: settings that a search writes over a section are not validated.
        """
        if self.solver == "native":
            if self.use_gpu == "true":
                return "solver native trains on the CPU: set use_gpu to auto or false, or solver to implicit"
            if self.regularization == 0:
                return "solver native needs regularization > 0; solver implicit takes 0"
            return None
        for name, plain in (
            ("regularization_exponent", 0),
            ("unobserved_weight", 1),
            ("regularization_counts", "pairs"),
        ):
            if getattr(self, name) != plain:
                return f"{name} other than {plain} needs solver native"
        if self.preference == "continuous":
            return "preference continuous needs solver native; implicit knows threshold and binary"
        return None

    def spark_problem(self) -> str | None:
        """Return what Spark's ALS cannot do of this section and what to change, or None."""
        if self.solver != "implicit":
            return (
                f"engine spark has a solver of its own, not {self.solver}: leave als.solver at implicit (and with it "
                "regularization_exponent, unobserved_weight and preference continuous at what they are), or set "
                "runtime.engine.als to local"
            )
        if self.use_gpu == "true":
            return "engine spark trains on CPUs: set als.use_gpu to auto or false, or runtime.engine.als to local"
        if self.regularization == 0:
            return "engine spark needs als.regularization > 0"
        return self.solver_problem()
