"""The cache of values that many packets share."""

from tunlab.packet.address import AddressTexts
from tunlab.packet.cache import Cache


def test_cache_computes_the_value_of_each_key_once():
    computed = []
    cache = Cache(lambda key: computed.append(key) or key * 2)
    assert [cache[1], cache[2], cache[1]] == [2, 4, 2]
    assert computed == [1, 2]


def test_cache_with_limit_keys_is_emptied():
    cache = Cache(str)
    for number in range(Cache.LIMIT):
        assert cache[number] == str(number)
    assert len(cache) == Cache.LIMIT
    assert cache[-1] == "-1"
    assert dict(cache) == {-1: "-1"}


def test_cache_of_addresses_with_limit_keys_is_emptied():
    texts = AddressTexts()
    for number in range(AddressTexts.LIMIT):
        texts[number.to_bytes(8, "big")]
    assert texts[bytes((10, 1, 2, 3, 192, 0, 2, 255))] == ("10.1.2.3", "192.0.2.255")
    assert len(texts) == 1
