"""The offline verifier of hansa's evidence bundles, by itself."""
