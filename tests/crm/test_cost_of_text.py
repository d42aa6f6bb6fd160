"""60 KiB of combining marks in any text of a request cost next to nothing: the length is looked at first."""

from pathlib import Path

from crm.app import create_app
from tests.crm.description_checks import document
from tests.crm.parts import TOKEN, settings_for
from tests.support.http import serving
from tests.support.request_cost import text_fields, too_dear


async def test_long_text_of_combining_marks_is_cheap_in_every_field(dsn: str, tmp_path: Path) -> None:
    app = create_app(settings_for(dsn, CONVENE_DATA=str(tmp_path)))
    async with serving(app):
        assert len(list(text_fields(document()))) > 40
        assert await too_dear(app, document(), {"Authorization": f"Bearer {TOKEN}"}) == []
