"""Words of the synthetic shop: product names and reviews in Vietnamese and English, from pools of phrases."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

IndexArray = NDArray[np.int64]

CATEGORIES = (
    "Sữa Rửa Mặt", "Nước Tẩy Trang", "Kem Chống Nắng", "Nước Hoa Hồng", "Serum", "Kem Dưỡng Ẩm", "Mặt Nạ Giấy",
    "Son Dưỡng Môi", "Son Kem Lì", "Phấn Nước", "Kem Nền", "Mascara", "Dầu Gội", "Dầu Xả", "Sữa Tắm",
    "Tẩy Tế Bào Chết", "Dưỡng Thể", "Xịt Khoáng", "Kem Trị Thâm", "Nước Hoa",
)  # fmt: skip
_BRANDS = (
    "An Nhiên", "Lá Mai", "Mộc Hương", "Suối Ngàn", "Hạ Vy", "Thảo Nguyên", "Sương Mai", "Bạch Trà", "Linh Lan",
    "Hoa Sứ", "Nắng Thu", "Biển Xanh", "Cỏ Ngọt", "Tuyết Sơn", "Diệp Lục", "Tơ Vàng",
)  # fmt: skip
CONCERNS = ("Cho Da Dầu Mụn", "Cho Da Khô", "Cho Da Nhạy Cảm", "Sáng Da", "Phục Hồi", "Hương Trà Xanh")
_SIZES = ("30ml", "50ml", "100ml", "150ml", "200ml", "400ml", "5g", "25g", "Bộ 2 Món")

# _PARTS[language][tone] holds the pools of up to four parts of a review: verdict, detail, use, closing.
# Tones: 0 discontented, 1 undecided, 2 content.
_PARTS: dict[str, tuple[tuple[tuple[str, ...], ...], ...]] = {
    "vi": (
        (
            ("Thất vọng", "Không thích lắm", "Tệ", "Dùng không hợp", "Không như mong đợi"),
            ("bôi lên bị châm chích, đỏ cả mặt.", "da mình bị kích ứng sau hai ngày.", "chất kem bết dính, khó thấm.",
             "mùi nồng, ngửi khó chịu.", "nắp bị vỡ, hộp móp hết."),
            ("Dùng nửa tháng không thấy hiệu quả gì.", "Da dầu càng đổ dầu nhiều hơn.", "Rửa xong khô căng, rít da."),
            ("Không mua lại.", "Phí tiền.", "Giao hàng chậm nữa.", "Mong shop xem lại."),
        ),
        (
            ("Tạm được", "Bình thường", "Cũng ổn", "Chưa biết thế nào"),
            ("mùi hơi nhẹ, thấm tàm tạm.", "dung tích ít so với giá.", "bao bì đơn giản, kết cấu hơi lỏng."),
            ("Mới dùng vài ngày nên chưa rõ.", "Da khô chắc cần thêm kem dưỡng.", "Cần thêm thời gian để đánh giá."),
            ("Sẽ dùng hết rồi tính.", "Giao hàng đúng hẹn.", "Ai tò mò thì thử."),
        ),
        (
            ("Tốt", "Rất thích", "ok", "Sản phẩm tốt", "Dùng rất ưng", "Tuyệt vời", "Hài lòng", "tốt tốt tốt"),
            ("thấm nhanh, không bết dính.", "chất kem mịn, mùi thơm nhẹ dễ chịu.", "làm sạch sâu mà không khô căng.",
             "da mềm mịn hẳn, sáng da hơn.", "kiềm dầu tốt, lỗ chân lông nhỏ lại.", "lên màu đẹp, lâu trôi."),
            ("Da mình dầu mụn dùng hai tuần thấy đỡ mụn ẩn rõ.", "Da nhạy cảm dùng không kích ứng.",
             "Dùng sáng và tối được một tháng, vết thâm mờ dần.", "So với loại cũ thì cấp ẩm tốt hơn nhiều."),
            ("Sẽ mua lại lần sau.", "Giao hàng nhanh, đóng gói cẩn thận.", "Giá rẻ, rất đáng tiền.",
             "Mọi người nên thử.", "Sẽ ủng hộ shop dài dài."),
        ),
    ),
    "en": (
        (
            ("Disappointed", "Not for me", "Terrible", "Would not recommend"),
            ("it stings and left a rash on my skin.", "sticky texture and a strong smell.", "the bottle leaked."),
            ("No results after three weeks.", "My oily skin got worse.", "It dries my face out."),
            ("Waste of money.", "I want a refund.", "Will not buy again."),
        ),
        (
            ("It is okay", "Average", "Not sure yet"),
            ("light scent, absorbs slowly.", "small size for the price.", "plain packaging."),
            ("I have used it for a few days only.", "Dry skin will need more.", "Hard to tell so far."),
            ("Will see.", "Delivery was on time.", "Maybe try it yourself."),
        ),
        (
            ("Great", "Love it", "Very good", "Excellent product", "good good good"),
            ("absorbs fast and is not greasy.", "soft texture with a light fragrance.", "no white cast at all.",
             "cleanses well without irritation."),
            ("My oily skin looks better after two weeks.", "Works on my sensitive skin.",
             "I use it morning and night, dark spots fade."),
            ("Will repurchase.", "Fast delivery and good packaging.", "Worth the price.", "Highly recommended."),
        ),
    ),
}  # fmt: skip
_LANGUAGES = tuple(_PARTS)
_N_PARTS = 4
_ENGLISH_SHARE = 0.12
# Shares of reviews with no text, the verdict only, and verdict with 1, 2, 3 further parts.
_LENGTH_SHARES = (0.22, 0.26, 0.24, 0.18, 0.10)
# Some people write the opposite of their stars.
_MISMATCH_SHARE = 0.015


def product_names(taste: IndexArray, rng: np.random.Generator) -> pl.DataFrame:
    """Return product_name, description, brand, category of the items; a taste prefers a category and a concern."""
    n_items = len(taste)
    frame = pl.DataFrame(
        {
            "category": _pick(CATEGORIES, taste % len(CATEGORIES)),
            "brand": _pick(_BRANDS, rng.integers(len(_BRANDS), size=n_items)),
            "concern": _pick(CONCERNS, taste // len(CATEGORIES) % len(CONCERNS)),
            "size": _pick(_SIZES, rng.integers(len(_SIZES), size=n_items)),
        }
    )
    detail = _pick(_PARTS["vi"][2][1], rng.integers(len(_PARTS["vi"][2][1]), size=n_items))
    return frame.select(
        pl.format("{} {} {} {}", "category", "brand", "concern", "size").alias("product_name"),
        pl.format("{} của {}: {}", "category", "brand", pl.lit(detail)).alias("description"),
        "brand",
        "category",
    )


def review_comments(ratings: NDArray[np.int64], rng: np.random.Generator) -> pl.Series:
    """Return one comment per rating, of varied length and worth; null for about a fifth of them."""
    n = len(ratings)
    language = (rng.random(n) < _ENGLISH_SHARE).astype(np.int64)
    tone = np.select([ratings <= 2, ratings == 3], [0, 1], 2)
    tone = np.where(rng.random(n) < _MISMATCH_SHARE, 2 - tone, tone)
    n_parts = rng.choice(len(_LENGTH_SHARES), size=n, p=_LENGTH_SHARES)
    phrases, starts, sizes = _flat_pools()
    columns = {}
    for part in range(_N_PARTS):
        start, size = starts[language, tone, part], sizes[language, tone, part]
        chosen = start + (rng.random(n) * size).astype(np.int64)
        columns[f"part{part}"] = _pick(phrases, np.where(part < n_parts, chosen, len(phrases) - 1))
    verdict, details = (
        pl.col("part0"),
        pl.concat_str([f"part{part}" for part in range(1, _N_PARTS)], separator=" "),
    )
    text = (
        pl.when(pl.lit(pl.Series(n_parts)) > 1)
        .then(verdict + ", " + details.str.strip_chars())
        .otherwise(verdict)
    )
    return (
        pl.DataFrame(columns)
        .select(pl.when(pl.lit(pl.Series(n_parts)) > 0).then(text).alias("comment"))
        .to_series()
    )


def _flat_pools() -> tuple[tuple[str, ...], IndexArray, IndexArray]:
    """Return (all phrases and a last empty one, starts, sizes), the latter by language, tone and part."""
    phrases: list[str] = []
    starts = np.zeros((len(_LANGUAGES), 3, _N_PARTS), dtype=np.int64)
    sizes = np.zeros_like(starts)
    for index, language in enumerate(_LANGUAGES):
        for tone, pools in enumerate(_PARTS[language]):
            for part, pool in enumerate(pools):
                starts[index, tone, part], sizes[index, tone, part] = len(phrases), len(pool)
                phrases.extend(pool)
    return (*phrases, ""), starts, sizes


def _pick(phrases: tuple[str, ...], index: IndexArray) -> pl.Series:
    return pl.Series(phrases, dtype=pl.String).gather(index)
