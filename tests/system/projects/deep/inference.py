"""A network from its weights; bodies and answers as AWS's PyTorch container has them."""

import os

import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 3)

    def forward(self, rows):
        return torch.softmax(self.inner(rows), dim=1)


def model_fn(model_dir):
    net = Net()
    net.load_state_dict(torch.load(os.path.join(model_dir, "weights.pth"), weights_only=True))
    return net.eval()
