"""Hypothesis profiles: quick for every run, deep for a night (HYPOTHESIS_PROFILE=deep)."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EVERY = list(HealthCheck)
settings.register_profile("quick", max_examples=25, deadline=None, suppress_health_check=EVERY)
settings.register_profile("deep", max_examples=2000, deadline=None, suppress_health_check=EVERY)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
