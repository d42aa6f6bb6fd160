"""The pages of the links in mails about accounts."""

from domain.account_urls import AccountUrls


def test_api_has_a_page_for_each_link() -> None:
    urls = AccountUrls("https://book.example.org/api/")
    assert urls.verify("a-token") == "https://book.example.org/api/verify-email/a-token"
    assert urls.reset("a-token") == "https://book.example.org/api/reset-password/a-token"


def test_templates_name_pages_of_a_front_end() -> None:
    urls = AccountUrls(
        "https://book.example.org", "https://app.example.com/v?t={token}", "https://app.example.com/{token}"
    )
    assert urls.verify("a/token") == "https://app.example.com/v?t=a%2Ftoken"
    assert urls.reset("a-token") == "https://app.example.com/a-token"
