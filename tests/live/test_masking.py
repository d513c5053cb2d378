import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcount.live.masking import mask_address, mask_all_but_host, mask_text

SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=12)


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("rtsp://camera/1", "rtsp://camera/1"),
        ("rtsp://admin:secret@camera:554/1", "rtsp://***@camera:554/1"),
        ("rtsp://admin@camera", "rtsp://***@camera"),
        ("http://camera/video.cgi?user=admin&pwd=secret", "http://camera/video.cgi?***"),
        ("http://camera/a#token", "http://camera/a#***"),
        ("http://admin:se/cret@camera/1", "http://***@camera/1"),
        ("http://camera/1?mail=a@b&pwd=secret", "http://***"),
        ("video.mp4", "video.mp4"),
    ],
)
def test_addresses(address, masked):
    assert mask_address(address) == masked


@given(SECRETS, SECRETS)
def test_no_secret_survives(user, password):
    message = f"cannot open rtsp://{user}:{password}@camera/1: Connection refused"
    for shown in (mask_address(f"rtsp://{user}:{password}@camera/1"), mask_text(message)):
        assert user not in shown and password not in shown
    assert password not in mask_address(f"http://camera/video?name={user}&p={password}")
    assert password not in mask_all_but_host(f"https://hooks.example.org/{password}/x")


def test_messages_keep_their_words():
    assert mask_text("lost http://a:b@c/d and rtsp://e") == "lost http://***@c/d and rtsp://e"
