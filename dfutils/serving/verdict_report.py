"""What notebook 06 shows of one video on its way to a verdict."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML, IFrame

from dfutils.core.errors import InputError
from dfutils.core.files import write_json
from dfutils.core.params import ROOT
from dfutils.core.progress import is_interactive
from dfutils.detector.network import Detector
from dfutils.faces import video
from dfutils.faces.extraction import FaceClip, find_faces
from dfutils.faces.video import VideoFacts
from dfutils.metrics import answers
from dfutils.reporting import image_plots
from dfutils.reporting.figure import Picture
from dfutils.reporting.table import Table, or_none
from dfutils.reporting.wording import Text
from dfutils.serving import verdict_html
from dfutils.serving.verdict import Verdict


class VerdictReport:
    """Texts and figures of a video, of the faces that a detector is given, and of its verdict."""

    def __init__(self, path: Path, detector: Detector) -> None:
        """Report on a video; its faces are found when they are first used."""
        self.path, self.detector = path, detector

    @property
    def file(self) -> VideoFacts:
        """The facts stated by the container."""
        return video.probe(self.path)

    def frames(self, count: int = 4, max_frames: int = 150) -> Picture:
        """Draw `count` frames, evenly spread over the first `max_frames`."""
        last = min(max(self.file.n_frames, 1), max_frames) - 1
        wanted = np.linspace(0, last, count).round().astype(int).tolist()
        images, captions = [], []
        for index, time_s, frame in video.frames(self.path, last + 1, wanted):
            images.append(frame)
            captions.append(f"frame {index}, {time_s:.1f} s")
        return image_plots.frame_grid(images, captions, "The video as it comes")

    @property
    def settings(self) -> dict[str, Any]:
        """How faces are found for this detector, by parameter."""
        return self.detector.face_settings.model_dump()

    @cached_property
    def clip(self) -> FaceClip:
        """The face crops of the person who is seen longest and largest."""
        return find_faces(self.path, self.detector.face_settings).clip

    def faces(self) -> Text:
        """Return how many faces were found in how many frames, and why there are too few, if there are."""
        clip = self.clip
        return Text(f"{clip.status}: {len(clip.frames)} faces in {clip.n_read} frames. {clip.reason}")

    def strip(self) -> Picture:
        """Draw the crops in the order of time.

        Raises:
            InputError: if there are too few faces for a verdict.
        """
        if self.clip.status != "ok":
            raise InputError(f"{self.clip.reason} Choose another video with video_file.")
        return image_plots.strip(self.clip.frames, times=self.clip.times, title="What the detector sees")

    def windows(self, verdict: Verdict) -> Table | Text:
        """Return the score and the answer of each window of each person."""
        rows = [
            {
                "person": person + 1,
                "from (s)": round(window.start_s, 1),
                "to (s)": round(window.end_s, 1),
                "faces": len(window.clip.frames),
                "score": window.probability,
                "answer": answers.decide(window.probability, verdict.borders),
            }
            for person, seen in enumerate(verdict.persons)
            for window in seen.windows
        ]
        return or_none(pd.DataFrame(rows), "Each window of each person", "Nobody was judged.")

    def explained(self, verdict: Verdict) -> HTML:
        """Return the verdict as on the web page, with Grad-CAM as an overlay on the faces."""
        return HTML(verdict_html.fragment(verdict, verdict_html.heat(self.detector, verdict)))

    def web_page(self, model: Path) -> IFrame | Text:
        """Return the web page with the detector of the folder `model`; in a batch run, the command that starts it."""
        if not is_interactive():
            return Text(f"dfutils serve --model {model.relative_to(ROOT.resolve()).as_posix()}")
        from dfutils.serving import web_page

        return IFrame(web_page.serve_in_background(model), "100%", 900, extras=['allow="camera"'])

    def write(self, verdict: Verdict, folder: Path) -> None:
        """Write verdict.html, a report in one file, and verdict.json into a folder."""
        verdict_html.write(verdict, folder / "verdict.html", verdict_html.heat(self.detector, verdict))
        write_json(verdict.to_dict(), folder / "verdict.json")
