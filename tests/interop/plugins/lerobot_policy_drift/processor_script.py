"""Its pipelines, which are those of the first policy; it has no statistics."""

from lerobot_policy_drift.processor_drift import make_drift_pre_post_processors as make_script_pre_post_processors

__all__ = ["make_script_pre_post_processors"]
