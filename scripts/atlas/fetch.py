"""Everything that brings a file in from elsewhere: packages, URLs, model hubs.

Each function checks what arrives against its pin, puts it in place in one step, and says in one sentence what failed.
"""

from atlas.fetch_files import fresh_folder, link_or_copy, public_url, sha256_file
from atlas.fetch_hub import download_hub
from atlas.fetch_package import download_package, extract_members
from atlas.fetch_url import download_url

__all__ = [
    "download_hub",
    "download_package",
    "download_url",
    "extract_members",
    "fresh_folder",
    "link_or_copy",
    "public_url",
    "sha256_file",
]
