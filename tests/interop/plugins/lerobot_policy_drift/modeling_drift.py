"""The policy itself."""

from collections import deque

import torch
from lerobot.policies.pretrained import PreTrainedPolicy

from lerobot_policy_drift.configuration_drift import DriftConfig


class DriftPolicy(PreTrainedPolicy):
    """Draws where its drift begins, as a third party's policy may."""

    config_class, name = DriftConfig, "drift"

    def __init__(self, config, **_):
        super().__init__(config)
        self.drift = torch.nn.Parameter(torch.randn(config.chunk_size, config.action_feature.shape[0]))
        self.reset()

    def reset(self):
        self.rest = deque()

    def get_optim_params(self):
        return self.parameters()

    def forward(self, batch):
        raise NotImplementedError

    @torch.no_grad()
    def predict_action_chunk(self, batch, **_):
        state = batch["observation.state"][:, None, : self.drift.shape[1]]
        return 0.1 * (self.drift.cumsum(0) + state + torch.randn_like(state))

    @torch.no_grad()
    def select_action(self, batch, **_):
        if not self.rest:
            self.rest.extend(self.predict_action_chunk(batch)[:, : self.config.n_action_steps].unbind(1))
        return self.rest.popleft()
