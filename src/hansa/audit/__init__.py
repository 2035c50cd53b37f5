"""The transparency log: entries that everybody can check, checkpoints that members cosign, evidence that travels."""
