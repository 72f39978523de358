"""Product embeddings at work: aligned by id, projected to factors, mapped to factors, made from titles."""
