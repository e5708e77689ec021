from bagoftricks.store.typed import environment_by_key, record_settings, settings_by_key
from tests.store.test_store import record


def test_settings_have_the_keys_that_users_type():
    config = {"lr": 0.1, "data": {"name": "digits", "limit": None, "mean": [1.0, 2.0]}, "model": {"name": "r"}}
    config |= {"task": {"name": "retrieval", "scale": 16.0}}
    tricks = {"cosine": {}, "mixup": {"alpha": 0.4}}
    assert settings_by_key({**config, "tricks": tricks}) == {
        "lr": 0.1, "data": "digits", "data.limit": None, "data.mean": [1.0, 2.0], "model": "r",
        "task": "retrieval", "task.scale": 16.0,
        "tricks.cosine": True, "tricks.mixup": True, "tricks.mixup.alpha": 0.4,
    }  # fmt: skip


def test_the_settings_of_a_record_are_those_that_took_effect():
    config = {
        "image_size": None,
        "num_classes": None,
        "data": {"name": "digits", "image_size": 8},
        "tricks": {"ema": {}},
    }
    found = record_settings(
        record(
            config=config, tricks={"ema": {"decay": 0.9}}, model={"name": "r", "weights": "w1"}, plugins={"mine": "p1"}
        )
    )
    assert found == {
        "data": "digits", "data.digest": "d", "model": "r", "model.weights_digest": "w1", "seed": 0, "epochs": 1,
        "image_size": 8, "num_classes": 10, "tricks.ema": True, "tricks.ema.decay": 0.9, "plugins.mine": "p1",
    }  # fmt: skip


def test_the_environment_has_versions_and_machine():
    assert environment_by_key(record(environment={"host": "here", "torch": "2.9"})).items() >= {
        ("host", "here"), ("torch", "2.9"), ("threads", 1),
    }  # fmt: skip
