"""How hypothesis runs here: how long an example takes says how busy the machine is, not whether a claim holds."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("hansa", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hansa")
