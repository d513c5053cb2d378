import pytest

from crowdcount.errors import InputError
from crowdcount.live.backoff import Backoff


def test_waits_double_up_to_the_limit_and_begin_again():
    backoff = Backoff(first=1, longest=10, jitter=0)
    assert [backoff.wait() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    backoff.reset()
    assert backoff.wait() == 1


def test_jitter_shortens_by_its_share_at_most():
    draws = iter([0.0, 0.5, 0.999])
    backoff = Backoff(first=8, longest=8, jitter=0.5, uniform=lambda: next(draws))
    assert [backoff.wait() for _ in range(3)] == pytest.approx([8, 6, 4.004])


@pytest.mark.parametrize("wrong", [{"first": 0}, {"longest": 0.5}, {"jitter": 1.5}])
def test_numbers_out_of_range(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Backoff(**wrong)
