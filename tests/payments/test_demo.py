"""`convene demo` on a system that was just started: the booking is paid, told and accounted for."""

from tests.support.command import bare_environ, convene, running_up
from tests.support.servers import temporary_directory


def test_the_demo_pays_at_the_sandbox_and_the_books_agree() -> None:
    with temporary_directory() as directory, running_up(directory / "var") as up:
        here = bare_environ(CONVENE_DATA=str(up.data))
        told = convene("demo", environ=here)
        assert told.returncode == 0, told.stderr
        assert f"Ada pays 12.50 EUR at {up.address('API')}/sandbox/pay/" in told.stdout
        assert "The gateway's signed word reached the CRM as notification " in told.stdout
        assert "Ada has a mail, “Receipt: Sunrise Yoga in the Garden”" in told.stdout
        checked = convene("payments", "check", environ=here)
        assert checked.stdout == "1 payment compared, nothing to look at\n"
        assert up.stop() == 0
