"""Picture files as image encoders want them: RGB, on white, square or whole. Bad files get a reason."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import struct
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from vtm.errors import ConfigError, DataError, check_column

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image as PILImage


# A progressive JPEG has some ten scans, and each goes over all pixels: a small file may hold thousands, which Pillow
# does not count.
MAX_SCANS = 100

# The markers of a JPEG that have a segment, and that of its end. Among the coded pixels FF stands before 00 or the
# marker of a restart, too, which are none of these.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_SCAN, _END = b"\xda", b"\xd9"
_CHUNK_BYTES = 1 << 16


def largest_in_icon(stream: BinaryIO) -> tuple[int, int]:
    """Width and height of the largest picture in an ICO; (0, 0) for any other file.

    Pillow decodes an ICO while it reads the header, and its directory may say less than the pictures inside are.
    """
    head = stream.read(6)
    sizes = [(0, 0)]
    if head[:4] == b"\0\0\1\0":
        directory = stream.read(16 * int.from_bytes(head[4:], "little"))
        for entry in range(0, len(directory) - 15, 16):
            stream.seek(int.from_bytes(directory[entry + 12 : entry + 16], "little"))
            inside = stream.read(24).ljust(24, b"\0")
            if inside.startswith(b"\x89PNG"):
                sizes.append(struct.unpack(">II", inside[16:]))
            elif inside[:4] == b"\x0c\0\0\0":
                sizes.append(struct.unpack("<HH", inside[4:8]))
            else:
                width, height = struct.unpack("<ii", inside[4:12])
                sizes.append((abs(width), abs(height) // 2))  # the other half is its mask
    stream.seek(0)
    return max(sizes, key=lambda size: size[0] * size[1])


def has_too_many_scans(stream: BinaryIO) -> bool:
    """Whether a JPEG has more than `MAX_SCANS` scans; it is read no further than that, or than its end.

    The stream is left where it was.
    """
    before = stream.tell()
    stream.seek(0)
    scans = (marker for marker in _jpeg_markers(stream) if marker == _SCAN)
    found = any(number > MAX_SCANS for number, _ in enumerate(scans, start=1))
    stream.seek(before)
    return found


def _jpeg_markers(stream: BinaryIO) -> Iterator[bytes]:
    """The markers of a JPEG, as libjpeg comes to them: not those inside segments or behind its end."""
    held, at = b"", 0
    while True:
        found = _MARKER.search(held, at)
        if found and found[1] == _END:
            return
        if found and found.end() + 2 <= len(held):
            yield found[1]
            at = found.end() + max(2, int.from_bytes(held[found.end() : found.end() + 2]))
            if at > len(held):
                stream.seek(at - len(held), 1)
                held, at = b"", 0
        else:
            # A marker and the length of its segment may lie in two chunks.
            start = found.start() if found else max(at, len(held) - 1)
            if not (chunk := stream.read(_CHUNK_BYTES)):
                return
            held, at = held[start:] + chunk, 0


# Above every camera that is sold: telephones have 200 megapixels, backs of studio cameras 150.
MAX_PIXELS = 250_000_000
# Some readers take a file whole, whatever follows its picture.
MAX_BYTES = 512 << 20
# What decoding may hold at once. `_decoded_bytes` says how much a picture needs.
MAX_DECODED = 1_250_000_000
# A picture that is wanted whole is halved until it has no more pixels than this.
MAX_WHOLE = 50_000_000
# No format that runs another program (EPS) or has no size in its header. HEIF by pi-heif, where that is installed.
FORMATS = (
    "PNG",
    "JPEG",
    "MPO",
    "GIF",
    "WEBP",
    "BMP",
    "DIB",
    "TIFF",
    "PPM",
    "ICO",
    "JPEG2000",
    "AVIF",
    "HEIF",
)
# Bytes of memory for a pixel, measured with Pillow 13: what stands while a mode is decoded and made RGB, and what the
# decoder of a format holds besides.
_MODE_BYTES = {"1": 1, "L": 1, "LA": 16, "P": 5, "PA": 16, "RGB": 4, "CMYK": 8, "F": 14, "I": 14, "I;16": 8}
_FORMAT_BYTES = {"WEBP": 12, "JPEG2000": 15, "AVIF": 6, "HEIF": 8, "TIFF": 4}
# Of telephones; and of cameras, whose files hold a preview as JPEG beside what the sensor saw.
HEIF_SUFFIXES = frozenset(".heic .heics .heif .heifs .hif".split())
RAW_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2 .rwl "
    ".sr2 .srf .srw .x3f".split()
)
# In a folder these are pictures, whatever their case; a file that is named is opened whatever it is called. Some can be
# read only where a library is installed, or not at all: these are named, not passed over.
SUFFIXES = frozenset(
    ".avif .bmp .dib .gif .ico .j2k .jfif .jp2 .jpe .jpeg .jpg .jpx .jxl .pbm .pgm .png .pnm .ppm .tif .tiff "
    ".webp".split()
).union(HEIF_SUFFIXES, RAW_SUFFIXES)
# The marks of HEIF (ISO/IEC 23008-12) after "ftyp", and how JPEG XL begins (ISO/IEC 18181-2).
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
# EXIF's tag of the orientation; LibRaw's way to say how a picture is to be turned -> EXIF's.
_ORIENTATION, _TURNS = 0x0112, {3: 3, 5: 8, 6: 6}
WHITE = (255, 255, 255)
# Side of the square in which two pictures are compared.
_LOOK_PIXELS = 64
# A tag of TIFF, and a value: zero is white. Pillow turns pictures of up to eight bits itself.
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0

# What PNG and TIFF hold as it is; pictures of other modes become RGB.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_TIFF_MODES = ("I", "F")
_STRIP_ROWS = 256
# From so many bytes on one picture is decoded at a time, so that several threads do not hold several huge ones. What
# counts is what decoding takes: of a JPEG of a telephone's 12 megapixels, made smaller as it is read, below one.
_LARGE_BYTES = 32_000_000
_large_picture = threading.Lock()
# Pillow's own limit is one global, and its warning cannot be caught in threads; our limit takes its place
# while a header is read, and one thread at a time does that.
_pillow_limit = threading.Lock()


class PictureError(DataError):
    """A picture that cannot be used.

    Attributes
    ----------
    reason
        "missing", "not-a-file", "unreadable" or "too-large": the word that drops are counted by.
    """

    def __init__(self, message: str, reason: str) -> None:
        # A file's name may hold line breaks; the message is one line.
        super().__init__(message.replace("\n", "\\n").replace("\r", "\\r"))
        self.reason = reason


def open_picture(path: Path | str, *, size: int | None, max_pixels: int = MAX_PIXELS) -> PILImage.Image:
    """Open a picture, fitted into a white square, or as it is.

    The longer side becomes `size` pixels (bicubic, small pictures are enlarged), the aspect stays, the rest
    is white; without a `size` every pixel stays what it is, but a picture of more than `MAX_WHOLE` pixels is
    halved. Transparency is laid on white; the EXIF
    orientation is applied; of an animation the first frame is taken; 16-bit grey is scaled to 8 bits, 32-bit
    and floating-point grey from darkest to brightest. Colours are taken as they are: profiles are not applied.

    Parameters
    ----------
    path
        A PNG, JPEG, GIF, WebP, BMP, TIFF, PPM, ICO, JPEG 2000 or AVIF file; what counts is its content, not
        its suffix. With the extra `photos` also HEIF, as HEIC, and a camera's RAW file, known by its suffix, of
        which the largest preview inside is taken.
    size
        Side of the square, in pixels; None for the whole picture.
    max_pixels
        Larger pictures are refused by their header, before anything is decoded.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, size (size, size), or the picture's own.

    Raises
    ------
    PictureError
        A DataError with a `reason`: as `check_file`, too many pixels, more memory than `MAX_DECODED`, or not
        readable as a picture (truncated files, and JPEGs of too many scans, too).
    """
    path = Path(path)
    check_file(path)
    is_raw = path.suffix.lower() in RAW_SUFFIXES
    try:
        stream, orientation = _raw_preview(path) if is_raw else (open(path, "rb"), 1)
        with stream:
            _check_size(path, largest_in_icon(stream), max_pixels)
            image = read_header(stream)
            # Of a PNG Pillow would decode all pixels to look for it.
            if orientation != 1 and _ORIENTATION not in (exif := image.getexif()):
                exif[_ORIENTATION] = orientation
            _check_size(path, image.size, max_pixels)
            if image.info.get("progressive") and has_too_many_scans(stream):
                raise PictureError(
                    f"{path}: a JPEG of more than {MAX_SCANS} scans, the limit; save it anew", "unreadable"
                )
            return _decode(path, image, size)
    except PictureError:
        raise
    except Exception as error:  # Pillow's decoders let many kinds of errors through
        raise PictureError(f"{path}: {_explain(path, error)}", "unreadable") from error


def looks(pictures: Iterable[Path | str]) -> list[str | None]:
    """What is seen of pictures, to find equal ones in files that differ: decoded, turned, on white, scaled.

    Returns
    -------
    list
        For each picture the hex SHA-256 of what is seen, drawn into a square of 64 pixels, "" where all is of one colour, None
        for a picture that cannot be read.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_look, pictures))


def _look(path: Path | str) -> str | None:
    from PIL import Image

    try:
        # Turned before it is scaled: rows and columns are rounded one after the other.
        picture = open_picture(path, size=None)
    except PictureError:
        return None
    picture = picture.resize((_LOOK_PIXELS, _LOOK_PIXELS), Image.Resampling.BICUBIC, reducing_gap=3.0)
    one_colour = all(least == most for least, most in picture.getextrema())  # type: ignore[misc]
    return "" if one_colour else hashlib.sha256(picture.tobytes()).hexdigest()


def check_file(path: Path) -> None:
    """Refuse what must not even be opened: reading it would wait for ever, or take very long.

    Raises
    ------
    PictureError
        No such file, not a regular file, or one of more than `MAX_BYTES`.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise PictureError(f"{path}: no such file", "missing") from None
    except (OSError, ValueError) as error:
        raise PictureError(f"{path}: cannot be looked at ({error})", "unreadable") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a FIFO, a socket or a device"
        raise PictureError(f"{path}: is {kind}, not a picture file", "not-a-file")
    if status.st_size > MAX_BYTES:
        raise PictureError(
            f"{path}: {status.st_size / 1e6:,.0f} MB, more than the limit of {MAX_BYTES / 1e6:,.0f}; save it anew",
            "too-large",
        )


def given_pictures(images: Any) -> tuple[list[Any], list[str]]:
    """Pictures as users give them, and what each is called in messages: its path, or its position.

    Parameters
    ----------
    images : paths, PIL images, or uint8 arrays (H, W), (H, W, 3) or (H, W, 4), also mixed.

    Raises
    ------
    ConfigError
        One picture in place of several.
    DataError
        What is none of these; the message names its position.
    """
    import numpy as np
    from PIL import Image

    check_column("images", images)
    single = isinstance(images, str | bytes | Path | Image.Image)
    # NumPy keeps paths as objects, or as texts: U of one length, T of any.
    if single or (isinstance(images, np.ndarray) and images.dtype.kind not in "OUT" and images.ndim != 4):
        raise ConfigError("images: give a list of pictures, also of one: [picture]")
    images, names = list(images), []
    for row, image in enumerate(images):
        if isinstance(image, np.ndarray):
            fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
            if image.dtype != np.uint8 or not fits or image.size == 0:
                raise DataError(
                    f"images[{row}]: an array of shape {image.shape} and type {image.dtype}; pictures are uint8 "
                    "arrays of shape (H, W), (H, W, 3) or (H, W, 4)"
                )
        elif not isinstance(image, str | Path | Image.Image):
            raise DataError(
                f"images[{row}] is of type {type(image).__name__}; give a path, a PIL image or a uint8 array"
            )
        names.append(str(image) if isinstance(image, str | Path) else str(row))
    return images, names


def picture_file(image: Any, base: Path) -> Path:
    """The picture's file, or a lossless one of it: so all pictures take the same way to their embedding.

    Parameters
    ----------
    image : as `given_pictures` lets it through.
    base : where a file of what is none is written, without a suffix.

    Raises
    ------
    PictureError
        As `check_file`; or a PIL image that cannot be read.
    """
    import numpy as np

    if isinstance(image, str | Path):
        check_file(path := Path(image))
        return path
    from PIL import Image

    try:
        picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        exif = Image.Exif()
        if turned := picture.getexif().get(_ORIENTATION):
            exif[_ORIENTATION] = turned
        if picture.mode not in (*_PNG_MODES, *_TIFF_MODES):
            picture = picture.convert("RGB")
        if picture.mode in _TIFF_MODES:
            picture.save(path := base.with_suffix(".tiff"), exif=exif)
        else:
            picture.save(path := base.with_suffix(".png"), exif=exif, compress_level=1)
        return path
    except Exception as error:  # Pillow's decoders let many kinds of errors through
        raise PictureError(f"a {type(image).__name__} cannot be read ({error})", "unreadable") from error


def read_header(stream: BinaryIO) -> PILImage.Image:
    from PIL import Image

    Image.init()
    if "HEIF" not in Image.OPEN and find_spec("pi_heif"):
        import pi_heif

        pi_heif.register_heif_opener()
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(stream, formats=[name for name in FORMATS if name in Image.OPEN])
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _raw_preview(path: Path) -> tuple[BinaryIO, int]:
    """The largest picture that a camera's file holds beside what the sensor saw, as a file, and its orientation (EXIF)."""
    if not find_spec("rawpy"):
        raise PictureError(
            f"{path}: is a camera's RAW file, which rawpy reads; pip install 'visual-topic-modelling[photos]'",
            "unreadable",
        )
    import rawpy
    from PIL import Image

    try:
        with rawpy.imread(str(path)) as raw:
            preview, sizes = raw.extract_thumb(), raw.sizes
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        why = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise PictureError(
            f"{path}: a RAW file that cannot be read, or holds no preview ({why}); save it as JPEG",
            "unreadable",
        ) from error
    if preview.format == rawpy.ThumbFormat.JPEG:
        stream = io.BytesIO(cast(bytes, preview.data))
    else:
        Image.fromarray(cast(np.ndarray, preview.data)).save(stream := io.BytesIO(), "PPM")
        stream.seek(0)
    return stream, _TURNS.get(sizes.flip, 1)


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    pixels = size[0] * size[1]
    if pixels > max_pixels:
        found, most = (f"{float(f'{number / 1e6:.4g}'):g}" for number in (pixels, max_pixels))
        raise PictureError(
            f"{path}: {found} megapixels, more than the limit of {most}; shrink it, or raise "
            "the limit (--max-pixels, in Python max_pixels)",
            "too-large",
        )


def _decoded_bytes(image: PILImage.Image, whole: tuple[int, int]) -> float:
    """Bytes of memory that decoding takes, at most; of a JPEG that `draft` has made smaller, `whole` is its own size."""
    mode = image.mode if not image.has_transparency_data else "RGBA"
    a_pixel = _MODE_BYTES.get(mode, 12) + _FORMAT_BYTES.get(cast(str, image.format), 0)
    needed = a_pixel * image.width * image.height
    if image.info.get("progressive"):
        # All coefficients stand in memory, two bytes each, however small the picture is made.
        samples = [across * down for _, across, down, _ in image.layer]  # type: ignore[attr-defined]
        needed += 2 * sum(samples) / max(samples) * whole[0] * whole[1]
    return needed


def _decode(path: Path, image: PILImage.Image, size: int | None) -> PILImage.Image:
    """Decode `image`, whole or fitted into a white square of `size` pixels."""
    from PIL import Image, ImageOps

    whole = image.size
    if size is None:
        halvings = 0
        while whole[0] * whole[1] > MAX_WHOLE * 4**halvings:
            halvings += 1
        width, height = (max(1, side >> halvings) for side in whole)
        if halvings:
            image.draft(None, (width, height))
    else:
        scale = size / max(whole)
        width, height = (max(1, round(side * scale)) for side in whole)
        # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size; the rest of the way, a half or more, is left to the
        # better filter.
        image.draft(None, (2 * width, 2 * height))
    if (needed := _decoded_bytes(image, whole)) > MAX_DECODED:
        raise PictureError(
            f"{path}: takes {needed / 1e9:.2g} GB of memory to decode, more than the limit of {MAX_DECODED / 1e9:.2g}; "
            "shrink it, or save it as JPEG",
            "too-large",
        )
    with _large_picture if needed > _LARGE_BYTES else nullcontext():
        image = _eight_bit(image)
        if size is None:
            while image.width * image.height > MAX_WHOLE:
                halved = image.reduce(2)
                halved.info, image = image.info, halved
            image = ImageOps.exif_transpose(image)
            return _on_white(image, image.size) if image.mode == "RGBA" else image.convert("RGB")
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
        return _on_white(ImageOps.exif_transpose(image), (size, size))


def _on_white(image: PILImage.Image, size: tuple[int, int]) -> PILImage.Image:
    """`image` in the middle of a white picture of `size` pixels (width, height)."""
    from PIL import Image

    ground = Image.new("RGB", size, WHITE)
    corner = ((size[0] - image.width) // 2, (size[1] - image.height) // 2)
    ground.paste(image.convert("RGB"), corner, image if image.mode == "RGBA" else None)
    return ground


def _eight_bit(image: PILImage.Image) -> PILImage.Image:
    """The decoded first frame in mode L, RGB or RGBA, its EXIF orientation kept."""
    image.load()
    exif = image.getexif()
    if image.mode == "F" or image.mode.startswith("I"):
        eight = _grey(image)
    elif image.has_transparency_data:
        eight = image.convert("RGBA")
    else:
        eight = image if image.mode in ("L", "RGB") else image.convert("RGB")
    # Converting may lose what the header said; exif_transpose looks for it in `info`.
    eight.info = {"exif": exif.tobytes()} if exif else {}
    return eight


def _grey(image: PILImage.Image) -> PILImage.Image:
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        dark, bright = 0.0, 65535.0
    else:
        finite = [part[np.isfinite(part)] for part in _strips(values)]
        dark = min((float(part.min()) for part in finite if part.size), default=0.0)
        bright = max((float(part.max()) for part in finite if part.size), default=0.0)
    eight = Image.new("L", image.size)
    for number, part in enumerate(_strips(values)):
        scaled = (part.astype(np.float64) - dark) * (255.0 / ((bright - dark) or 1.0))
        if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            scaled = 255.0 - scaled
        grey = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
        eight.paste(
            Image.fromarray(np.rint(np.clip(grey, 0, 255)).astype(np.uint8)), (0, number * _STRIP_ROWS)
        )
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return eight
    eight.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return eight.convert("RGBA")


def _strips(values: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows at a time, since a pixel takes 40 bytes on its way to grey."""
    return (values[start : start + _STRIP_ROWS] for start in range(0, len(values), _STRIP_ROWS))


def _explain(path: Path, error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, PermissionError):
        return "no permission to read it"
    if path.stat().st_size == 0:
        return "is empty"
    if isinstance(error, UnidentifiedImageError):
        with open(path, "rb") as stream:
            head = stream.read(12)
        if head[4:8] == b"ftyp" and head[8:] in _HEIF_BRANDS or path.suffix.lower() in HEIF_SUFFIXES:
            if not find_spec("pi_heif"):
                return "is HEIF, as HEIC, which pi-heif reads; pip install 'visual-topic-modelling[photos]'"
        if head.startswith(_JXL_STARTS) or path.suffix.lower() == ".jxl":
            return "is JPEG XL, which is not read; save it as JPEG or PNG"
        return "not a picture in a format that can be read (PNG, JPEG, GIF, WebP, BMP, TIFF, ...)"
    return f"cannot be read as a picture, it may be damaged or cut off ({error})"
