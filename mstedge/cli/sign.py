"""`mstedge sign`: vouch for a bundle with a key."""

from __future__ import annotations

from pathlib import Path

import typer


def command(
    bundle: Path = typer.Argument(..., help="Folder of the bundle."),
    key: Path = typer.Option(..., "--key", help="Private Ed25519 key, PEM, without a passphrase."),
    json: bool = typer.Option(False, "--json", help="Print bundle, file and fingerprint as JSON."),
) -> None:
    """Sign a bundle's SHA256SUMS with an Ed25519 key; `mstedge verify --key` checks it on the device.

    Make the two halves of a key with `openssl genpkey -algorithm ed25519 -out key.pem` and
    `openssl pkey -in key.pem -pubout -out key.pub.pem`. The first signs and stays at home; the second checks.
    """
    from mstedge.cli.console import note, say, say_json
    from mstedge.manifest import SIGNATURE_NAME
    from mstedge.runtime.bundle.signature import sign

    fingerprint = sign(bundle, key)
    if json:
        said = {"schema": "mstedge.sign/1", "bundle": str(bundle), "file": SIGNATURE_NAME, "key_sha256": fingerprint}
        say_json(said)
    else:
        say(f"signed {bundle} with the key {fingerprint}")
    note(f"next: mstedge verify {bundle} --key key.pub.pem")
