#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: health_gate
short_description: Wait until a system is proved healthy, and stays so
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Runs probes of many kinds at the same time, again and again, until enough of them have
    succeeded often enough in a row, and, with O(hold), for long enough.
  - It succeeds only on evidence. A probe that answers nothing, not in time, with an error, or with
    something that is not a number is not a success. When the gate cannot tell, its outcome is
    V(inconclusive), and the task fails as well.
  - Each probe ends at its O(timeout), the whole call at its O(deadline), even when a server sends
    one byte a second, a name server is silent, or a command leaves children behind.
  - What cannot work is refused before the first probe. This includes thresholds that cannot be
    reached before the deadline.
  - It changes nothing, except for what a O(checks[].command) or the HTTP method of a check does.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._health_checks
attributes:
  check_mode:
    support: full
    details:
      - Everything is read and refused as usual, and RV(worst_case), RV(best_case) and
        RV(gives_up_within) are returned.
      - Nothing is probed, because before a rollback the system is expected to be broken.
        RV(outcome) is V(inconclusive).
  diff_mode:
    support: none
    details: There is nothing that could differ.
  idempotent:
    support: full
options:
  require:
    description:
      - How many checks must be green at the same time.
      - Either V(all), V(any), or a number.
    type: str
    default: all
  success_threshold:
    description: So many successes in a row make a check green.
    type: int
    default: 3
  failure_threshold:
    description:
      - A check is given up after so many probes in a row that were not a success.
      - With V(0) it is tried until its deadline.
    type: int
    default: 0
  period:
    description: Seconds from the start of one probe of a check to the start of the next.
    type: float
    default: 1.0
  timeout:
    description: Seconds after which a probe that has not answered is a failure.
    type: float
    default: 5.0
  deadline:
    description:
      - Seconds after which the call ends, whatever happens.
      - When it is left out, each check has 300 seconds or its own deadline, and the gate has what
        its slowest check and O(hold) need.
    type: float
  hold:
    description:
      - Seconds for which the gate must stay green once it is.
      - One check too few starts it anew. At its end every check is probed once more.
    type: float
    default: 0.0
  concurrency:
    description: At most so many probes run at the same time.
    type: int
    default: 100
seealso:
  - module: ansible.builtin.uri
  - module: ansible.builtin.wait_for
"""

EXAMPLES = r"""
- name: Shop, database and cache answer before traffic comes back
  sre.rollback.health_gate:
    checks:
      - name: shop answers
        http:
          url: https://shop.example.com/healthz
          json:
            - path: status
              expected: ok
          max_latency: 2
      - name: database takes queries
        postgres:
          login_host: db.example.com
          database: shop
          query: SELECT count(*) FROM orders WHERE customer_id IS NULL
          expected: 0
      - name: cache answers
        redis:
          login_host: cache.example.com
          info:
            - field: role
              expected: master
    failure_threshold: 10

- name: Metrics are back to normal and stay so for five minutes
  sre.rollback.health_gate:
    checks:
      - name: error rate below 0.1 %
        deadline: 600
        prometheus:
          url: http://prometheus.example.com:9090
          query: sum(rate(http_errors_total[2m])) / sum(rate(http_requests_total[2m]))
          max: 0.001
          on_no_data: inconclusive
      - name: response time below 2 s
        deadline: 300
        prometheus:
          url: http://prometheus.example.com:9090
          query: histogram_quantile(0.95, sum by (le) (rate(http_duration_seconds_bucket[2m])))
          max: 2
    period: 15
    hold: 300

- name: Metrics of a service without a Prometheus server
  sre.rollback.health_gate:
    checks:
      - name: error rate below 1 % over the last minute
        metrics:
          url: http://127.0.0.1:8000/metrics
          metric: http_requests_total
          labels: {code: 5..}
          function: increase
          per: {metric: http_requests_total}
          max: 0.01
    hold: 60

- name: The host itself is well
  sre.rollback.health_gate:
    checks:
      - name: services of the shop run
        container:
          labels:
            com.docker.compose.project: shop
          at_least: 3
      - name: units run
        systemd:
          units: [nginx.service, shop-worker.service]
      - name: no errors in the log since the release
        log:
          path: /var/log/shop/app.log
          pattern: "ERROR|CRITICAL"
          since: 120
      - name: proxy accepts connections
        tcp: {host: 127.0.0.1, port: 443}

- name: The new certificate is good before the proxy gets it
  sre.rollback.health_gate:
    checks:
      - name: certificate of the shop
        tls:
          certificate: /etc/ssl/shop/fullchain.pem
          private_key: /etc/ssl/shop/key.pem
          server_name: shop.example.com
          min_days_left: 14
    success_threshold: 1

- name: Business calls work, for everybody by themselves, and under load
  sre.rollback.health_gate:
    success_threshold: 1
    timeout: 60
    checks:
      - name: an order can be placed
        command:
          argv: [/opt/shop/bin/smoke-test, --order]
          stdout: order accepted
      - name: messages arrive
        websocket:
          url: wss://shop.example.com/live
          send: ping
          expect: pong
      - name: two users never see each other's data
        isolation:
          url: https://shop.example.com/api/me
          users:
            - name: canary one
              bearer_token: "{{ canary_one_token }}"
              marker: canary-one@example.com
            - name: canary two
              bearer_token: "{{ canary_two_token }}"
              marker: canary-two@example.com
      - name: 95 % of 100 requests succeed, in less than 2 s on average
        load:
          url: https://shop.example.com/
          requests: 100
          at_once: 10
          min_success: 0.95
          max_mean: 2
"""

RETURN = r"""
outcome:
  description:
    - V(passed) when the demands were met.
    - V(failed) when so many checks failed that the demands could not be met.
    - V(inconclusive) when the evidence is not enough for either. This is a failure of the task,
      too.
  returned: success and failure
  type: str
  choices: [passed, failed, inconclusive]
  sample: passed
checks:
  description: What is known about each check, in the order given.
  returned: success and failure
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    kind:
      description: Its kind of probe.
      type: str
    state:
      description: V(passed), V(failed) or V(inconclusive), like RV(outcome).
      type: str
    attempts:
      description: How many probes were counted.
      type: int
    consecutive:
      description: How many successes in a row there were at the end.
      type: int
    since:
      description: Since when it has been answering well, or not well, in UTC.
      type: str
    last_error:
      description: Why it was not a success the last time it was not, in words.
      type: str
    last_error_at:
      description: When that was, in UTC.
      type: str
    deadline:
      description: Seconds after which it had to be green.
      type: float
    latency:
      description:
        - Seconds until an answer came, as C(p50), C(p95) and C(max).
        - The first two are of the last 500 answers, and all are null without any answer.
      type: dict
    samples:
      description: The last 20 probes, each with C(at) (seconds since the start), C(outcome) and
        C(latency).
      type: list
      elements: dict
  sample:
    - attempts: 2
      consecutive: 1
      deadline: 300.0
      kind: http
      last_error: HTTP status 503, expected 200
      last_error_at: "2026-11-22T03:12:07Z"
      latency: {p50: 0.0021, p95: 0.0048, max: 0.0048}
      name: shop answers
      samples:
        - {at: 0.005, outcome: failed, latency: 0.0048}
        - {at: 1.003, outcome: passed, latency: 0.0021}
      since: "2026-11-22T03:12:08Z"
      state: inconclusive
elapsed:
  description: Seconds from the first probe to the decision.
  returned: success and failure
  type: float
  sample: 3.004
best_case:
  description: Seconds after which the gate can pass at the earliest.
  returned: success and failure
  type: float
  sample: 2.0
worst_case:
  description: Seconds after which the gate has been decided at the latest. Known before the first
    probe.
  returned: success and failure
  type: float
  sample: 300.0
gives_up_within:
  description: Seconds after which a check that never succeeds is given up at the latest.
  returned: success and failure
  type: float
  sample: 65.0
required:
  description: How many checks had to be green at the same time.
  returned: success and failure
  type: int
  sample: 3
green_since:
  description: Since when that many checks have been green, in UTC. Null when they are not.
  returned: success and failure
  type: str
  sample: "2026-11-22T03:12:10Z"
holds_broken:
  description: How often that many checks were green and then were not.
  returned: success and failure
  type: int
  sample: 0
"""

import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._gate import PASSED, Gate
from ansible_collections.sre.rollback.plugins.module_utils._gate_plan import (
    gate_argument_spec,
    plan_gate,
)
from ansible_collections.sre.rollback.plugins.module_utils._gate_report import (
    failure_message,
    gate_result,
    passed_message,
)
from ansible_collections.sre.rollback.plugins.module_utils._gate_runner import (
    GateEndedError,
    GateRunner,
)
from ansible_collections.sre.rollback.plugins.module_utils._gate_shapes import (
    without_wrong_shapes,
    wrong_shapes,
)
from ansible_collections.sre.rollback.plugins.module_utils._gate_watch import watch_from
from ansible_collections.sre.rollback.plugins.module_utils._hiding_module import HidingModule


class GateModule(HidingModule):
    """A module that survives options of the wrong shape, to refuse them in words."""

    def _load_params(self) -> None:
        super()._load_params()
        self.complaints = wrong_shapes(self.params, self.argument_spec)
        self.params = without_wrong_shapes(self.params, self.argument_spec)

    def fail_json(self, msg: str, **kwargs: t.Any) -> t.NoReturn:
        super().fail_json(msg="; ".join(self.complaints) or msg, **kwargs)


def run(module: AnsibleModule) -> None:
    """Plan, probe until decided, and end the module. Raises RollbackError for a refused plan."""
    plan = plan_gate(module.params, started_epoch=time.time())
    gate = Gate(plan.rules)
    started_epoch, started = time.time(), time.monotonic()
    if not module.check_mode:
        GateRunner(gate, plan.probes, look=watch_from(os.environ)).run()
    elapsed = time.monotonic() - started
    result = gate_result(gate, started_epoch=started_epoch, elapsed=elapsed)
    if module.check_mode:
        module.exit_json(changed=False, msg="Nothing was probed in check mode.", **result)
    if gate.outcome == PASSED:
        module.exit_json(changed=False, msg=passed_message(gate), **result)
    module.fail_json(
        changed=False, msg=failure_message(gate, started_epoch=started_epoch), **result
    )


def refusal(exc: RollbackError) -> str:
    library = exc.result.pop("missing_library", None)
    hint = f" {missing_required_lib(library)}" if library else ""
    return f"The gate was refused, and nothing was probed: {exc}.{hint}"


def main() -> None:
    module = GateModule(argument_spec=gate_argument_spec(), supports_check_mode=True)
    try:
        run(module)
    except RollbackError as exc:
        message = str(exc) if isinstance(exc, GateEndedError) else refusal(exc)
        module.fail_json(changed=False, msg=message, **exc.result)


if __name__ == "__main__":
    main()
