"""The first images of an import of CIFAR-10 as a smaller set, read through the HDF5 library that lockstep itself needs."""

import ctypes
import ctypes.util
import pathlib
import subprocess
import tempfile

TRAIN_IMAGES, TEST_IMAGES = 10000, 2000
IMAGE_BYTES = 3 * 32 * 32
TRAIN_FILES = 5  # of CIFAR-10's binary version, which `lockstep data import` reads

HID = ctypes.c_int64  # HDF5's handles, since its version 1.10
SIGNATURES = {
    "H5Fopen": (HID, [ctypes.c_char_p, ctypes.c_uint, HID]),
    "H5Fclose": (ctypes.c_int, [HID]),
    "H5Dopen2": (HID, [HID, ctypes.c_char_p, HID]),
    "H5Dget_space": (HID, [HID]),
    "H5Sget_simple_extent_npoints": (ctypes.c_int64, [HID]),
    "H5Dread": (ctypes.c_int, [HID, HID, HID, HID, HID, ctypes.c_void_p]),
}
NATIVE_TYPES = {ctypes.c_uint8: "H5T_NATIVE_UINT8_g", ctypes.c_int32: "H5T_NATIVE_INT32_g"}


def hdf5_library():
    for name in ("hdf5_serial", "hdf5"):
        path = ctypes.util.find_library(name)
        if not path:
            continue
        library = ctypes.CDLL(path)
        library.H5open()
        for function, (result, arguments) in SIGNATURES.items():
            getattr(library, function).restype = result
            getattr(library, function).argtypes = arguments
        return library
    raise SystemExit(
        "libhdf5 was not found: install the package that lockstep was built with (Debian: libhdf5-dev)"
    )


def read_dataset(library, file, name, ctype):
    """A dataset of the open file, whole, as a ctypes array of `ctype` (c_uint8 or c_int32)."""
    dataset = library.H5Dopen2(file, name.encode(), 0)
    if dataset < 0:
        raise SystemExit(f"the file has no {name}: it is not an image set of lockstep")
    values = (ctype * library.H5Sget_simple_extent_npoints(library.H5Dget_space(dataset)))()
    if library.H5Dread(dataset, HID.in_dll(library, NATIVE_TYPES[ctype]), 0, 0, 0, values) < 0:
        raise SystemExit(f"{name} cannot be read")
    return values


def read_records(library, file, split, wanted):
    """CIFAR-10 records (a byte of label, then the three planes) of the first `wanted` images."""
    labels = read_dataset(library, file, f"/{split}/labels", ctypes.c_int32)
    images = memoryview(read_dataset(library, file, f"/{split}/images", ctypes.c_uint8)).cast("B")
    if len(labels) < wanted or len(images) != len(labels) * IMAGE_BYTES or max(labels) > 9:
        raise SystemExit(
            f"the {split} part is not CIFAR-10's: {len(labels)} images of {len(images)} bytes together"
        )
    return [
        bytes([labels[i]]) + bytes(images[i * IMAGE_BYTES : (i + 1) * IMAGE_BYTES])
        for i in range(wanted)
    ]


def make_subset(program, source, target):
    """Writes `target` (HDF5) with the first images of `source`, an import of CIFAR-10."""
    library = hdf5_library()
    file = library.H5Fopen(str(source).encode(), 0, 0)
    if file < 0:
        raise SystemExit(f"{source} is not an HDF5 file")
    train = read_records(library, file, "train", TRAIN_IMAGES)
    test = read_records(library, file, "test", TEST_IMAGES)
    library.H5Fclose(file)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        each = TRAIN_IMAGES // TRAIN_FILES
        for i in range(TRAIN_FILES):
            (folder / f"data_batch_{i + 1}.bin").write_bytes(
                b"".join(train[i * each : (i + 1) * each])
            )
        (folder / "test_batch.bin").write_bytes(b"".join(test))
        subprocess.run([program, "data", "import", folder, target], check=True)
