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
            description: File with the certificate of this client, and with its key unless that has
              a file of its own.
            type: path
          client_key: &client_key
            description: File with the private key of this client.
            type: path
          method: &method
            description: The request's method.
            type: str
            default: GET
            choices: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]
          body: &body
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
          status: &status
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
      tls:
        description:
          - A certificate is trusted, is issued for the name, belongs to the key, and lasts.
          - It is the one that a server shows, or one in a file that a server is about to be given.
        type: dict
        suboptions:
          host:
            description: Host of the server. Excludes O(checks[].tls.certificate).
            type: str
          port:
            description: Port of the server.
            type: int
            default: 443
          certificate:
            description:
              - File with the certificate and its chain, instead of a server.
              - It needs O(checks[].tls.private_key) and O(checks[].tls.server_name).
            type: path
          server_name:
            description: Name that the certificate must be issued for, when it is not the host.
            type: str
          ca_cert: *ca_cert
          private_key:
            description: File with the private key that must belong to the certificate.
            type: path
          min_days_left:
            description: So many days the certificate must still be valid.
            type: float
            default: 0.0
      websocket:
        description:
          - A WebSocket is opened and something comes back over it.
          - Without O(checks[].websocket.send) and O(checks[].websocket.expect) that is the answer
            to a ping.
        type: dict
        suboptions:
          url:
            description: The URL to open, C(ws://) or C(wss://).
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
          subprotocols:
            description: Subprotocols to offer. The server must choose one of them.
            type: list
            elements: str
            default: []
          send:
            description: Text to send.
            type: str
          expect:
            description:
              - Regular expression that is found in a message of the server.
              - When it is left out, the echo of what was sent is expected.
            type: str
      metrics:
        description:
          - A number from the metrics page of a service, where no Prometheus server is.
          - When the page cannot be read, the check is inconclusive.
        type: dict
        suboptions:
          url:
            description: URL of the page.
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
          metric:
            description: Name of the metric. For V(quantile) it is the name without C(_bucket).
            type: str
            required: true
          labels:
            description: Labels, each with a regular expression that must match its whole value.
            type: dict
            default: {}
          function:
            description:
              - What is calculated from the series that match.
              - V(value) is their sum now.
              - V(increase) is by how much they grew within O(checks[].metrics.window), also across
                a restart of the service, and V(rate) is that for each second.
              - V(quantile) is the quantile of a histogram within the window. It is infinite beyond
                the last finite bucket.
              - All but V(value) compare scrapes, so the first probe is inconclusive.
            type: str
            default: value
            choices: [value, increase, rate, quantile]
          window:
            description: Seconds to look back at most. Only scrapes of this gate are known.
            type: float
            default: 60.0
          quantile:
            description: Which quantile, between 0 and 1.
            type: float
            default: 0.95
          per:
            description: The result is divided by the same of this metric, such as all requests.
            type: dict
            suboptions:
              metric:
                description: Name of the metric.
                type: str
                required: true
              labels:
                description: Its labels, as above.
                type: dict
                default: {}
          min: *min
          max: *max
          on_no_data: *on_no_data
      container:
        description:
          - Docker containers run, have not been restarted since the last probe, and their own
            health checks say that they are healthy.
          - When Docker cannot be asked, or a health check has not finished, the check is
            inconclusive.
        type: dict
        suboptions:
          docker_host: &docker_host
            description: Socket of the Docker Engine.
            type: str
            default: unix:///var/run/docker.sock
          names:
            description: Names or ids of containers.
            type: list
            elements: str
          labels:
            description:
              - Labels that the containers carry, instead of names.
              - For a service of Docker Compose these are C(com.docker.compose.project) and
                C(com.docker.compose.service).
            type: dict
          at_least:
            description: So many containers must carry the labels.
            type: int
            default: 1
          health_check:
            description:
              - With V(required), a container without a health check is inconclusive.
              - With V(if_defined), it is enough that such a container runs.
            type: str
            default: required
            choices: [required, if_defined]
          early_health_check:
            description:
              - While the Docker Engine has no verdict yet, run the command of the container's own
                health check in it. The Engine runs it for the first time after its interval, which
                is half a minute unless somebody says otherwise.
              - When it fails, the check is inconclusive.
            type: bool
            default: true
      systemd:
        description:
          - Units are in the wanted state, and systemd has not restarted them since the last probe.
          - When systemd cannot be asked, the check is inconclusive.
        type: dict
        suboptions:
          units:
            description: Names of the units.
            type: list
            elements: str
            required: true
          state:
            description: The wanted state.
            type: str
            default: active
            choices: [active, inactive]
          scope:
            description: Whether it is the system's service manager, or that of the user.
            type: str
            default: system
            choices: [system, user]
      log:
        description:
          - Lines that match a pattern are not too many, or not too few.
          - Without O(checks[].log.max_matches) and O(checks[].log.min_matches) none is allowed.
          - When the log cannot be read, the check is inconclusive.
        type: dict
        suboptions:
          path:
            description: A file. It is followed when it is replaced.
            type: path
          unit:
            description: A unit, whose entries are in the journal of systemd.
            type: str
          container:
            description: A Docker container.
            type: str
          docker_host: *docker_host
          pattern:
            description: Regular expression that is found in the lines that count.
            type: str
            required: true
          since:
            description:
              - Lines count that were written this many seconds before the gate started, or later.
              - For a file, its lines must carry a time that can be read when this is not V(0).
            type: float
            default: 0.0
          window:
            description: When given, only lines count that are at most so many seconds old.
            type: float
          max_matches:
            description: At most so many lines may match.
            type: int
          min_matches:
            description: At least so many lines must match.
            type: int
            default: 0
      load:
        description:
          - A small load. So many requests are under way at any time, until all have been sent.
          - All of it is one probe, so O(checks[].timeout) must be long enough, and
            O(checks[].success_threshold) is best set to V(1).
        type: dict
        suboptions:
          url: *url
          headers: *headers
          url_username: *url_username
          url_password: *url_password
          bearer_token: *bearer_token
          validate_certs: *validate_certs
          ca_cert: *ca_cert
          client_cert: *client_cert
          client_key: *client_key
          method: *method
          body: *body
          status: *status
          requests:
            description: How many requests are sent.
            type: int
            default: 50
          at_once: &at_once
            description: How many of them are under way at the same time, at most 100.
            type: int
            default: 5
          request_timeout: &request_timeout
            description: Seconds after which a request without an answer is a failed one.
            type: float
            default: 5.0
          min_success:
            description: Share of the requests that must succeed, above 0 and up to 1.
            type: float
            default: 0.95
          max_mean:
            description: Seconds that the successful ones may take on average.
            type: float
          max_p95:
            description: Seconds that 95 % of the successful ones may take at most.
            type: float
      isolation:
        description:
          - Users who ask at the same time never get each other's answers.
          - Each answer must contain its own user's marker, and no other's.
        type: dict
        suboptions:
          url: *url
          headers: *headers
          url_username: *url_username
          url_password: *url_password
          bearer_token: *bearer_token
          validate_certs: *validate_certs
          ca_cert: *ca_cert
          client_cert: *client_cert
          client_key: *client_key
          users:
            description: Two users or more.
            type: list
            elements: dict
            required: true
            suboptions:
              name:
                description: Name of the user, for messages.
                type: str
                required: true
              headers: *headers
              url_username: *url_username
              url_password: *url_password
              bearer_token: *bearer_token
              marker:
                description: Text that is in every answer to this user, and in no other's.
                type: str
                required: true
          status: *status
          rounds:
            description: How often each user asks.
            type: int
            default: 10
          at_once: *at_once
          request_timeout: *request_timeout
"""
