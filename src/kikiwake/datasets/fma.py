"""FMA (Defferrard et al. 2017): `tracks.csv` with two header rows, and `000/000002.mp3`, by top genre."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from kikiwake.datasets._scan import SPLIT_NAMES, ClipSeconds, FoundClip, Scan, Tree
from kikiwake.errors import ManifestError
from kikiwake.tables import Problems, Table, read_table

PLACES = ("fma_metadata/tracks.csv", "tracks.csv")
COLUMNS = {"set.split", "set.subset", "track.genre_top", "artist.id"}
SUBSETS = ("small", "medium", "large")
"""Each holds the ones before it."""

GENRES_OF_SMALL = (
    *("Hip-Hop", "Pop", "Folk", "Experimental", "Rock", "International", "Electronic", "Instrumental"),
)
"""In the order of class numbers that systems over FMA small have."""


def likeness(root: Path) -> int:
    """Say whether there is a tracks.csv with two header rows."""
    return 2 if any(_has_two_headers(root / place) for place in PLACES) else 0


def scan(
    root: Path,
    *,
    subset: Literal["small", "medium", "large"] = "small",
    split: Literal["official", "artist", "random"] = "artist",
    least_seconds: Annotated[float, Field(ge=0)] = 10.0,
    clip_seconds: ClipSeconds = None,
) -> Scan:
    """Find the tracks of a subset that have a top genre.

    `subset`: small (8,000 tracks of 8 genres), medium or large; each holds the ones before. `split`: official
    is the data set's own column; artist leaves folds to be made that keep every artist together; random keeps
    nothing together, which is how scores come out too high. `least_seconds`: shorter recordings are set
    aside; a handful of FMA's files are broken or end after a few seconds. `clip_seconds`: clips end there
    where their recordings are longer.

    Raises:
        ManifestError: there is no such table, or a row of it makes no sense.
    """
    problems = Problems()
    place = next((root / place for place in PLACES if _has_two_headers(root / place)), None)
    if place is None:
        raise ManifestError(
            "no tracks.csv of FMA is here",
            where=root,
            remedy=f"put {PLACES[0]} of fma_metadata.zip there, beside the folders of recordings",
        )
    table = _read_tracks(place, problems)
    result = Scan(Tree(root), tables=[place], unnamed=f"not named in {place.name}")
    wanted = SUBSETS[: SUBSETS.index(subset) + 1]
    recordings = _Recordings(result.tree)
    for row in table.rows:
        track = row["track_id"]
        if not track.isdecimal():
            problems.error(row.where, f"track_id '{track}' is not a whole number", "restore the table")
            continue
        path = recordings.find(int(track))
        genre, part = row["track.genre_top"], SPLIT_NAMES.get(row["set.split"])
        if row["set.subset"] not in wanted or not genre:
            if path is not None:
                result.left_out[path] = f"not in the subset {subset}" if genre else "has no top genre"
        elif path is None:
            result.missing.append((recordings.name(int(track)), row.where))
        elif split == "official" and part is None:
            problems.error(row.where, f"split '{row['set.split']}' is unknown", "restore the table")
        else:
            result.clips.append(
                FoundClip(
                    path,
                    genre,
                    group=None if split == "random" else row["artist.id"] or None,
                    split=part if split == "official" else None,
                    seconds=clip_seconds,
                    least_seconds=least_seconds,
                )
            )
    problems.raise_errors(str(place))
    if {clip.label for clip in result.clips} <= set(GENRES_OF_SMALL):
        result.classes = GENRES_OF_SMALL
    return result


def _has_two_headers(path: Path) -> bool:
    """Whether a table begins as FMA's does: names of groups, then names of columns."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first, second = file.readline(), file.readline()
    return b"track" in first.split(b",") and b"genre_top" in second.split(b",")


def _read_tracks(path: Path, problems: Problems) -> Table:
    table = read_table(path, problems=problems, header_rows=2, index_name="track_id")
    if absent := sorted(COLUMNS - set(table.columns)):
        what = f"the table lacks the columns {', '.join(absent)}"
        raise ManifestError(what, where=path, remedy="take tracks.csv of fma_metadata.zip as it is")
    return table


class _Recordings:
    """The recordings of a tree by their track's number, whatever folder they lie in; the first if many do."""

    def __init__(self, tree: Tree) -> None:
        self._of: dict[str, Path] = {}
        for path in tree.audio():
            self._of.setdefault(path.stem, path)

    @staticmethod
    def name(track: int) -> str:
        """Return where FMA keeps a track."""
        return f"{track // 1000:03d}/{track:06d}.mp3"

    def find(self, track: int) -> Path | None:
        """Return the recording of a track, whatever it was converted to."""
        return self._of.get(f"{track:06d}")
