"""A diffusers pipeline that draws from a saved conditional `ddpm`, for use outside of Ouroboros.

    from engine.pipelines import ConditionalDDPMPipeline
    pipeline = ConditionalDDPMPipeline.from_pretrained(folder)
    pictures = pipeline([3, 1, 4], guidance=1.0, num_inference_steps=100).images

Pictures come with the padding that the network was trained with, if any (`shape` in config.json is
without it).  A sweep does not use it: there the generator draws, with the sampler its constructor
              names.  A saved unconditional `ddpm` needs nothing of
ours: `diffusers.DDPMPipeline.from_pretrained(folder)` opens and runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from engine._torchvision import torchvision  # noqa: F401  (before diffusers, which imports it)

from diffusers import DDPMPipeline, ImagePipelineOutput  # isort: skip


class ConditionalDDPMPipeline(DDPMPipeline):
    """Guidance is (1 + w) prediction given the label - w prediction given the null class, which is
    the last one.
    """

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Sequence[int],
        guidance: float = 0.0,  # w; MAD's sampling bias b is guidance 1/b - 1
        generator: torch.Generator | None = None,
        num_inference_steps: int = 1000,
        output_type: str = "pil",  # or "np": float [n, h, w, c] in [0, 1]
    ) -> Any:
        pipe: Any = self
        unet, on = pipe.unet, pipe._execution_device
        y = torch.tensor(list(class_labels), device=on)
        null = torch.full_like(y, unet.config.num_class_embeds - 1)
        size = unet.config.sample_size
        sides = (size, size) if isinstance(size, int) else tuple(size)
        x = torch.randn(len(y), unet.config.in_channels, *sides, generator=generator, device=on)
        pipe.scheduler.set_timesteps(num_inference_steps)
        for t in pipe.progress_bar(pipe.scheduler.timesteps):
            predicted = unet(x, t, y).sample
            if guidance:
                predicted = (1 + guidance) * predicted - guidance * unet(x, t, null).sample
            x = pipe.scheduler.step(predicted, t, x, generator=generator).prev_sample
        pictures = (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        return ImagePipelineOutput(
            images=pipe.numpy_to_pil(pictures) if output_type == "pil" else pictures
        )
