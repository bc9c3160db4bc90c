"""Names and display colours of the demo classes.

A COCO category id equals the class's value in the segmentation masks: both
count the shapes from 1, and 0 is what is left, the background.
"""

CLASSES: tuple[str, ...] = ('disc', 'ring', 'square', 'triangle', 'star', 'cross')

PALETTE: tuple[tuple[int, int, int], ...] = (
    (230, 75, 60),
    (60, 140, 230),
    (70, 180, 95),
    (240, 180, 40),
    (155, 90, 200),
    (35, 185, 185),
)
"""One RGB colour per entry of ``CLASSES``, for plots (pictures use any colour)."""

SEGMENTATION_CLASSES: tuple[str, ...] = ('background', *CLASSES)
SEGMENTATION_PALETTE: tuple[tuple[int, int, int], ...] = ((60, 60, 60), *PALETTE)
