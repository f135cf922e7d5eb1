"""Front ends in C99, from samples to the codes of a network's input, one kind per file."""

from micronas.export.firmware.front_ends.audio import LogMel as LogMel
from micronas.export.firmware.front_ends.audio import Mfcc as Mfcc
from micronas.export.firmware.front_ends.front_end import FrontEnd as FrontEnd
from micronas.export.firmware.front_ends.image import Camera as Camera
from micronas.export.firmware.front_ends.image import Image as Image
from micronas.export.firmware.front_ends.series import Series as Series
