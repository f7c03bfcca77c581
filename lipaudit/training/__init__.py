"""Training that keeps a network's Lipschitz constant small: a regulariser, and a callback that clips spectra.

Neither proves anything: audit what comes out.
"""

from __future__ import annotations

from lipaudit.training.penalty import Regularizer, regularizer
from lipaudit.training.spectral_clip import Reading, SpectralClip

__all__ = ["Reading", "Regularizer", "SpectralClip", "regularizer"]
