"""Pickles of speech features as the field passes them around: CMU-MOSI, CMU-MOSEI and IEMOCAP."""

from __future__ import annotations

from pathlib import Path

from cggm_core.cards import FormatCard, Param
from cggm_core.datasets._paths import PathBuilder
from cggm_core.datasets._safe_pickle import load_pickle
from cggm_core.datasets._speech import speech_bundle
from cggm_core.protocols.data import DataBundle

CARD = FormatCard(
    name="pickled",
    title="MOSI, MOSEI and IEMOCAP pickles (.pkl)",
    summary="Text, audio and vision features of utterances in the MulT or the MMSA layout, read without running "
            "anything.",
    params=(
        Param("target", "auto", text="what is predicted: sentiment is the number from -3 to 3, polarity MMSA's class "
              "(negative, neutral, positive), emotion which of IEMOCAP's four it is, one emotion's name whether it is "
              "there; auto is sentiment for numbers and emotion for pairs",
              choices=("auto", "sentiment", "polarity", "emotion", "neutral", "happy", "sad", "angry")),
    ),
    layout="MulT: {train, valid, test} -> {text, audio, vision: [n, time, features]; labels: [n, 1, 1] sentiment, or "
           "[n, 4, 2] pairs (absent, present) of neutral, happy, sad, angry; id}. MMSA: {train, valid, test} -> {text, "
           "audio, vision; regression_labels, classification_labels: [n]; audio_lengths, vision_lengths, text_bert: "
           "frames that are no padding; raw_text, id}",
    task="regression (sentiment) or classification (polarity, emotion)",
    source="MulT (Tsai et al., ACL 2019) and MMSA (Mao et al., ACL 2022) hand out such files, made with the CMU "
           "multimodal SDK; none is shipped here",
)  # fmt: skip


class SpeechPickle(PathBuilder):
    """See `speech_bundle`."""

    def __init__(self, path: Path, *, target: str = "auto") -> None:
        super().__init__(path)
        self.target = target

    def build(self) -> DataBundle:
        """The file's data."""
        return speech_bundle(self.path.name, load_pickle(self.path, self.path.name), self.target)
