"""What LeRobot knows the second policy of the plug-in by."""

from dataclasses import dataclass, field

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import NormalizationMode


@PreTrainedConfig.register_subclass("script")
@dataclass
class ScriptConfig(PreTrainedConfig):
    """Whole episodes as chunks, of which the first image decides."""

    plans: int = 1
    chunk_size: int = 200
    n_action_steps: int = 200
    normalization_mapping: dict = field(
        default_factory=lambda: dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY)
    )
    observation_delta_indices = reward_delta_indices = action_delta_indices = None

    def get_optimizer_preset(self):
        raise NotImplementedError

    def get_scheduler_preset(self):
        return None

    def validate_features(self):
        pass
