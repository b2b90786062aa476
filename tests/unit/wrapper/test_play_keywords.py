"""Variables of a play's keywords: found in the plays, and their values in the inventory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollback_playbook.catalogue.collection import bundled_playbooks
from rollback_playbook.catalogue.play_keywords import keyword_variables
from rollback_playbook.catalogue.scenarios import Scenario, find
from rollback_playbook.errors import RefusedError
from rollback_playbook.plan.hosts import ResolvedHosts
from rollback_playbook.plan.keyword_values import keyword_values


def _scenario(name: str = "gradual") -> Scenario:
    return find(name, [bundled_playbooks()])


def _hosts(**said: dict[str, Any]) -> ResolvedHosts:
    return ResolvedHosts(by_pattern={"app": tuple(said)}, groups={}, variables=said)


def test_variables_of_keywords_are_known_and_those_of_tasks_are_not() -> None:
    play = {
        "hosts": "{{ everywhere }}",
        "serial": ["1", "{{ batch | default(other) }}"],
        "any_errors_fatal": "{{strict}}",
        "max_fail_percentage": 0,
        "tasks": [{"name": "{{ task }}"}],
    }

    assert keyword_variables([play]) == {"batch", "strict"}


def test_what_an_import_says_about_a_variable_is_read_instead_of_it() -> None:
    play = {"max_fail_percentage": "{{ budget }}", "vars": {"budget": "{{ of_the_import }}"}}

    assert keyword_variables([play]) == {"of_the_import"}
    assert keyword_variables([{**play, "vars": {"budget": "{{ budget }}"}}]) == {"budget"}


def test_gradual_alone_has_batches_and_a_budget() -> None:
    said = {"gradual_batch", "gradual_failure_budget"}

    assert _scenario().keyword_variables == said
    assert not _scenario("application").keyword_variables & said


def test_what_the_inventory_says_is_handed_on_unless_it_is_given() -> None:
    hosts = _hosts(
        app1={"gradual_batch": 2, "gradual_failure_budget": 50},
        app2={"gradual_batch": "2", "release_pause": 5},
    )

    assert keyword_values(_scenario(), hosts, {"gradual_failure_budget": "0"}) == {
        "gradual_batch": 2
    }
    assert keyword_values(_scenario("application"), hosts, {}) == {}


def test_hosts_that_differ_are_refused_unless_one_value_is_given() -> None:
    hosts = _hosts(app1={"gradual_batch": 2}, app2={"gradual_batch": 3}, app3={})

    with pytest.raises(RefusedError, match="gradual_batch is 2 on app1 and 3 on app2"):
        keyword_values(_scenario(), hosts, {})
    assert keyword_values(_scenario(), hosts, {"gradual_batch": "1"}) == {}


def test_value_that_only_a_host_could_fill_in_is_refused() -> None:
    hosts = _hosts(app1={"gradual_batch": "{{ groups.app | length }}"})

    with pytest.raises(RefusedError, match="gradual_batch is a template on app1"):
        keyword_values(_scenario(), hosts, {})
    assert keyword_values(replace(_scenario(), keyword_variables=frozenset()), hosts, {}) == {}
