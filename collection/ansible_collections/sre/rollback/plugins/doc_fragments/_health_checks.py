# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The kinds of probe: the options of each file in plugins/module_utils/_probes.
    DOCUMENTATION = r"""
options:
  checks:
    description:
      - What has to be healthy.
      - Each check has a name of its own, exactly one kind of probe, and what differs from the
        gate's own thresholds.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What is checked, in words for the person who reads the failure.
        type: str
        required: true
      success_threshold:
        description: Overrides O(success_threshold).
        type: int
      failure_threshold:
        description: Overrides O(failure_threshold).
        type: int
      period:
        description: Overrides O(period).
        type: float
      timeout:
        description: Overrides O(timeout).
        type: float
      deadline:
        description:
          - Seconds from the start of the gate. From then on a check that is not green has failed
            for good.
          - Must not be later than the gate's O(deadline), when that is given.
        type: float
      http:
        description:
          - One HTTP request, and what its answer has to be.
          - It goes straight to the server on a new connection each time. Proxies and E(netrc)
            files are not used.
        type: dict
        suboptions:
          url: &url
            description:
              - The URL to ask.
              - A user and password in it are sent as basic authentication, and hidden in all
                output.
            type: str
            required: true
          headers: &headers
            description:
              - Headers to send.
              - The value of a header whose name tells of a secret, such as C(Authorization),
                C(Cookie) or C(X-Api-Key), is hidden in all output.
            type: dict
            default: {}
          url_username: &url_username
            description: User for basic authentication.
            type: str
          url_password: &url_password
            description: Password for basic authentication.
            type: str
          bearer_token: &bearer_token
            description: Token that is sent in the header C(Authorization).
            type: str
          validate_certs: &validate_certs
            description: Whether the certificate must be trusted and be issued for the host.
            type: bool
            default: true
          ca_cert: &ca_cert
            description: File with the certificates to trust instead of the system's.
            type: path
          client_cert: &client_cert
            description: File with the certificate of this client, and with its key unless
              O(checks[].http.client_key) is given.
            type: path
          client_key: &client_key
            description: File with the private key of this client.
            type: path
          method:
            description: The request's method.
            type: str
            default: GET
            choices: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]
          body:
            description: The request's body. What is not a string is sent as JSON.
            type: raw
          follow_redirects:
            description:
              - Whether up to five redirects are followed.
              - Credentials, cookies and the C(Host) header do not go along to another host, port
                or scheme.
            type: bool
            default: false
          unix_socket:
            description: Socket of the server, instead of the host in the URL.
            type: path
          status:
            description: The statuses that are a success.
            type: list
            elements: int
            default: [200]
          response_headers:
            description: Headers that the answer must have, each with a regular expression that is
              found in its value.
            type: dict
            default: {}
          text:
            description: Regular expression that is found in the body.
            type: str
          json:
            description: Values that the JSON body must have.
            type: list
            elements: dict
            default: []
            suboptions:
              path:
                description: Where the value is, such as V(status), V(checks.database.status),
                  V(items[0].name) or V(["a.b"]).
                type: str
                required: true
              expected: &expected
                description: The value must be equal to this.
                type: raw
              matches: &matches
                description: This regular expression is found in the value.
                type: str
              min: &min
                description: The value must be a number and not be below this.
                type: float
              max: &max
                description: The value must be a number and not be above this.
                type: float
          max_latency:
            description: Seconds that the answer may take, from connecting to the end of the body.
            type: float
      tcp:
        description: A connection is accepted.
        type: dict
        suboptions:
          host:
            description: Host or address.
            type: str
            required: true
          port:
            description: Port.
            type: int
            required: true
          send:
            description: Text to send first.
            type: str
          expect:
            description: Regular expression that is found in what the server says.
            type: str
      postgres:
        description:
          - A PostgreSQL server takes a connection and answers a query in a read-only transaction.
          - Without O(checks[].postgres.query) any answer is a success.
        type: dict
        suboptions:
          login_host:
            description: Host of the server.
            type: str
          login_port:
            description: Port of the server.
            type: int
            default: 5432
          login_user:
            description: Role to log in as.
            type: str
            default: postgres
          login_password:
            description: Its password.
            type: str
          login_unix_socket:
            description: Folder of the server's socket, when O(checks[].postgres.login_host) is
              left out.
            type: path
          ssl_mode:
            description: Whether TLS is used, and what is verified.
            type: str
            choices: [disable, allow, prefer, require, verify-ca, verify-full]
            default: prefer
          ca_cert: *ca_cert
          connect_params:
            description: Any other connection parameter of libpq.
            type: dict
            default: {}
          database:
            description: Database to connect to.
            type: str
            default: postgres
          query:
            description: Query whose first column of the first row is judged. No row is a failure,
              and so is NULL.
            type: str
          expected: *expected
          matches: *matches
          min: *min
          max: *max
      redis:
        description: A Redis or Valkey server answers C(PING).
        type: dict
        suboptions:
          login_host:
            description: Host of the server.
            type: str
            default: localhost
          login_port:
            description: Port of the server.
            type: int
            default: 6379
          login_user:
            description: ACL user.
            type: str
          login_password:
            description: Its password.
            type: str
          db:
            description: Number of the database to select.
            type: int
            default: 0
          tls:
            description: Whether to connect with TLS.
            type: bool
            default: false
          validate_certs: *validate_certs
          ca_certs: *ca_cert
          client_cert_file:
            description: File with the certificate of this client.
            type: path
          client_key_file:
            description: File with its private key.
            type: path
          info:
            description: Fields of C(INFO) and what they must be.
            type: list
            elements: dict
            default: []
            suboptions:
              field:
                description: Name of the field, such as V(role) or V(master_link_status).
                type: str
                required: true
              expected: *expected
              matches: *matches
              min: *min
              max: *max
      prometheus:
        description:
          - An instant query to Prometheus. Every series in its answer must be within the bounds.
          - When Prometheus itself cannot be asked, the check is inconclusive.
        type: dict
        suboptions:
          url:
            description: Base URL, such as V(http://prometheus.example.com:9090).
            type: str
            required: true
          headers: *headers
          url_username: *url_username
          url_password: *url_password
          bearer_token: *bearer_token
          validate_certs: *validate_certs
          ca_cert: *ca_cert
          client_cert: *client_cert
          client_key: *client_key
          query:
            description: The query, in PromQL.
            type: str
            required: true
          min: *min
          max: *max
          on_no_data: &on_no_data
            description:
              - What it counts as when there is no value.
              - A value that is not a number is never a success. With V(fail) it is a failure,
                otherwise it is inconclusive.
            type: str
            default: fail
            choices: [fail, pass, inconclusive]
      command:
        description:
          - A program that ends with the right exit code. No shell is involved.
          - When it ends, or its time is over, whatever is left of its process group is killed.
        type: dict
        suboptions:
          argv:
            description: The program and its arguments.
            type: list
            elements: str
            required: true
          chdir:
            description: Folder to run it in.
            type: path
          environment:
            description:
              - What is added to its environment.
              - The value of a variable whose name tells of a secret is hidden in all output.
            type: dict
            default: {}
          rc:
            description: The exit codes that are a success.
            type: list
            elements: int
            default: [0]
          stdout:
            description: Regular expression that is found in its output.
            type: str
"""
