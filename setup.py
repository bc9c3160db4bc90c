"""Packaging of mmnv3: `pip install '.[openmmlab]'` or `pip install '.[onedl]'`."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
STARTUP_FILES = ('mmnv3/compat/mmnv3.pth', 'mmnv3/compat/_mmnv3_startup.py')

DATA = [
    '**/*.json',
    'compat/mmnv3.pth',
    'py.typed',
    # Links to configs/ and tools/, whose files go into the wheel.
    '.mim/model-index.yml',
    '.mim/configs/*.yml',
    '.mim/configs/*.py',
    '.mim/configs/_base_/*.py',
    '.mim/tools/*',
    # What `make web` builds, where it was run.
    'deploy/page/*',
    'deploy/page/assets/*',
]
# They show studies/, which stays in the repository.
NOT_IN_WHEELS = ['.mim/tools/latency_study.py', '.mim/tools/paper_tables.py']

# mmseg's CLIP text encoder imports both, and names neither as a dependency.
UNNAMED = ['ftfy', 'regex']
# Its RMSProp is TensorFlow's, which the ImageNet recipe wants.
OPTIMIZER = ['timm']
# torch.onnx writes by way of onnxscript.
ONNX = ['onnx', 'onnxscript', 'onnxruntime']
# NNCF quantises.
OPENVINO = ['openvino', 'nncf']
SEARCH = ['ray']
# Predicting by Ray Data.
RAY = ['ray[data]', 'pyarrow', 'fsspec']
TENSORFLOW = ['tensorboard']
# Serving pages to phones: a QR code of the address, and a certificate.
WEB = ['segno', 'cryptography']

# The two families bring the same import names (mmengine, mmcv, mmdet, ...), so one
# environment holds one of them, and the core metadata asks for neither.
EXTRAS = {
    'openmmlab': [
        'mmengine>=0.10.7,<0.11',
        'mmcv-lite>=2.1,<2.2',
        'mmdet>=3.3,<3.4',
        'mmsegmentation>=1.2,<1.3',
        'mmpretrain>=1.2,<1.3',
        *UNNAMED,
        *OPTIMIZER,
    ],
    'onedl': [
        'onedl-mmengine>=0.10.12,<0.11',
        'onedl-mmcv>=2.3.6,<2.4',
        'onedl-mmdetection>=3.5.1,<3.6',
        'onedl-mmsegmentation>=1.4.2,<1.5',
        'onedl-mmpretrain>=1.3.6,<1.4',
        *UNNAMED,
        *OPTIMIZER,
    ],
    # Reading Google's LiteRT files, and running them to compare.
    'tflite': ['tflite', 'flatbuffers'],
    # The classes of TensorFlow's graphs, to read Google's networks without it.
    'tensorflow': TENSORFLOW,
    # Writing and running exported models.
    'onnx': ONNX,
    'openvino': OPENVINO,
    'litert': ['litert-torch>=0.10', 'ai-edge-litert'],
    'executorch': ['executorch>=1.5'],
    # Searching on several machines.
    'search': SEARCH,
    # Predicting on several machines.
    'ray': RAY,
    'web': WEB,
    # The page's tests, in the system's Chromium.
    'test-web': ['playwright'],
    # The documentation as a site.
    'docs': ['mkdocs-material>=9.6,<10', 'mkdocstrings[python]>=0.30,<2'],
    'test': [
        'pytest',
        'pytest-xdist',
        'ruff',
        'mypy',
        'tflite',
        'flatbuffers',
        'ai-edge-litert',
        # The example of a service, and what asks it.
        'fastapi',
        'httpx',
        *ONNX,
        *OPENVINO,
        *RAY,
        *TENSORFLOW,
        *WEB,
    ],
}


class BuildWithStartupFiles(build_py):
    """Also puts `mmnv3.pth` beside the package, where Python reads it on start.

    The files belong to the wheel, so uninstalling the package removes them again.
    """

    def run(self) -> None:
        """Builds the package and copies the startup files."""
        super().run()
        # An editable wheel leaves the package where it is, but not these files: Python
        # reads `.pth` from site-packages only. `install_lib` is that wheel's root.
        root = (
            self.get_finalized_command('install').install_lib
            if self.editable_mode
            else self.build_lib
        )
        for name in STARTUP_FILES:
            self.copy_file(str(ROOT / name), root)


def version() -> str:
    """Reads the version without importing the package."""
    text = (ROOT / 'mmnv3' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'$", text, re.MULTILINE).group(1)


setup(
    name='mmnv3',
    version=version(),
    description='MobileNetV3, SSDLite, LR-ASPP and their searches for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords='MobileNetV3 SSDLite LR-ASPP OpenMMLab mmdetection mmsegmentation',
    classifiers=[
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.10',
    install_requires=[
        'torch>=2.6',
        'torchvision>=0.21',
        'numpy',
        'opencv-python>=4.7',  # It suppresses boxes class by class.
        'pillow',
        'rich',
        'platformdirs',
        'psutil',
        # Of two who hold a lock file that one has removed, older ones let both in.
        'filelock>=4',
        'matplotlib',
        'scipy',
    ],
    extras_require=EXTRAS,
    packages=find_packages(include=['mmnv3', 'mmnv3.*']),
    package_data={'mmnv3': DATA},
    exclude_package_data={'mmnv3': NOT_IN_WHEELS},
    cmdclass={'build_py': BuildWithStartupFiles},
)
