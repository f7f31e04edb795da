"""`make config`: write config.yaml, schemas/config.schema.yaml and the tables of options in docs/ anew."""

from pathlib import Path

from atlas.config.generate.files import generated

PROJECT = Path(__file__).resolve().parents[4]

for path, text in generated(PROJECT).items():
    if path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        print(f"written: {path.relative_to(PROJECT)}")
