"""The pages of the links in mails about accounts."""

from domain.account_urls import AccountUrls


def test_api_has_a_page_for_each_link() -> None:
    urls = AccountUrls("https://book.example.org/api/")
    assert urls.verify("a-token") == "https://book.example.org/api/verify-email/a-token"
    assert urls.reset("a-token") == "https://book.example.org/api/reset-password/a-token"
    assert urls.change_email("a-token") == "https://book.example.org/api/change-email/a-token"
    assert urls.undo_email_change("a-token") == "https://book.example.org/api/undo-email-change/a-token"


def test_templates_name_pages_of_a_front_end() -> None:
    templates = (f"https://app.example.com/{page}?t={{token}}" for page in ("v", "r", "c", "u"))
    urls = AccountUrls("https://book.example.org", *templates)
    assert urls.verify("a/token") == "https://app.example.com/v?t=a%2Ftoken"
    assert urls.reset("a-token") == "https://app.example.com/r?t=a-token"
    assert urls.change_email("a-token") == "https://app.example.com/c?t=a-token"
    assert urls.undo_email_change("a-token") == "https://app.example.com/u?t=a-token"
