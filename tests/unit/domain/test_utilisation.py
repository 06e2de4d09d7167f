"""Percent of an instance: containers of a replica add up, replicas stay apart."""

from modelyard.domain.fleet import Container, Fleet, Variant, placements
from modelyard.domain.instances import GIB
from modelyard.domain.utilisation import Used, readings


def fleet(instance_type: str) -> Fleet:
    containers = tuple(Container(name=name, image="i", runtime="onnx") for name in ("a", "b"))
    variant = Variant(
        name="blue", instance_type=instance_type, count=2, weight=1.0, containers=containers
    )
    return Fleet(owner="o", generation=1, created_at=0.0, variants=(variant,), config_name="c1")


def test_containers_of_a_replica_add_up_and_cores_do_too() -> None:
    one = fleet("ml.m5.xlarge")  # 4 CPUs, 16 GiB
    ids = [placement.id for placement in placements(one, {})]
    before = {worker: Used(cpu_seconds=100.0, memory_bytes=0) for worker in ids}
    now = {
        ids[0]: Used(cpu_seconds=160.0, memory_bytes=2 * GIB),
        ids[1]: Used(cpu_seconds=190.0, memory_bytes=2 * GIB),
        ids[2]: Used(cpu_seconds=106.0, memory_bytes=0),
        ids[3]: Used(cpu_seconds=100.0, memory_bytes=0),
    }
    found = list(
        readings([one], {}, before=before, now=now, seconds=60.0, machine_memory_bytes=GIB)
    )
    assert [(one.variant, one.config_name, one.cpu, one.memory) for one in found] == [
        ("blue", "c1", 250.0, 25.0),
        ("blue", "c1", 10.0, 0.0),
    ]


def test_a_worker_seen_for_the_first_time_has_memory_only_and_of_the_machine_if_its_type_is_unknown() -> (
    None
):
    one = fleet("local")
    worker = next(placements(one, {})).id
    now = {worker: Used(cpu_seconds=5.0, memory_bytes=GIB // 2)}
    (found,) = readings([one], {}, before={}, now=now, seconds=60.0, machine_memory_bytes=GIB)
    assert (found.cpu, found.memory) == (None, 50.0)


def test_a_new_process_in_an_old_place_is_never_negative() -> None:
    one = fleet("local")
    worker = next(placements(one, {})).id
    before = {worker: Used(cpu_seconds=50.0, memory_bytes=0)}
    now = {worker: Used(cpu_seconds=1.0, memory_bytes=0)}
    (found,) = readings([one], {}, before=before, now=now, seconds=60.0, machine_memory_bytes=GIB)
    assert found.cpu == 0.0
