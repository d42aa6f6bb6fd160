from tests.crm.fixtures import *  # noqa: F403
