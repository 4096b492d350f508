"""Opens a data set by LeRobot's own class and writes what it found: `open_dataset.py FOLDER OUT.json`."""

import json
import sys
from pathlib import Path

import av
import lerobot
import numpy as np
import torch
import torchvision
from lerobot.datasets.lerobot_dataset import LeRobotDataset


class VideoReader:
    """What LeRobot 0.4 reads videos by: torchvision's class of this name, which torchvision 0.28 no longer has."""

    def __init__(self, path, _stream):
        self.container = av.open(path)

    def seek(self, time_s, *, keyframes_only):
        self.container.seek(int(time_s * av.time_base), backward=True, any_frame=not keyframes_only)

    def __iter__(self):
        for frame in self.container.decode(video=0):
            yield {"data": torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1), "pts": frame.time}


if not hasattr(torchvision.io, "VideoReader"):
    torchvision.io.VideoReader = VideoReader
    torchvision.set_video_backend = lambda _name: None

folder, out = sys.argv[1:]
dataset = LeRobotDataset("ray-eval/test", root=folder, video_backend="pyav")
loader = torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=False)
batch = next(iter(loader))
items = [dataset[index] for index in range(len(dataset))]
images = list(dataset.meta.camera_keys)
found = {
    "version": lerobot.__version__,
    "fps": dataset.fps,
    "episodes": dataset.num_episodes,
    "frames": dataset.num_frames,
    "features": {key: [feature["dtype"], list(feature["shape"])] for key, feature in dataset.features.items()},
    "tasks": [item["task"] for item in items],
    "states": [item["observation.state"].tolist() for item in items],
    "actions": [item["action"].tolist() for item in items],
    "timestamps": [float(item["timestamp"]) for item in items],
    "success": [bool(item["next.success"]) for item in items],
    "means": {key: [float(item[key].mean()) for item in items] for key in images},
    "shapes": {key: list(items[0][key].shape) for key in images},
    "batch": {key: list(batch[key].shape) for key in (*images, "action")},
    "stats": {key: np.asarray(dataset.meta.stats[key]["mean"]).tolist() for key in (*images, "action")},
    "lengths": [int(each["length"]) for each in dataset.meta.episodes],
}
Path(out).write_text(json.dumps(found))
