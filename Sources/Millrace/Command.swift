/// What `millrace` can be told to do, as its first argument.
enum Command: String, CaseIterable, CustomStringConvertible {
  case up, status, balance, api, worker, service, kv, tasks, queue, workers, cache, migrate, token, bench, config,
    doctor,
    healthcheck,
    version
  case kvClean = "kv-clean"

  /// As it is written.
  var description: String { rawValue }

  /// The version of the program.
  static let programVersion = "0.1.0"

  /// One line for `millrace --help`.
  var summary: String {
    switch self {
    case .up: "start the whole system on this machine, with a PostgreSQL and a Redis of its own"
    case .status: "show the processes of a running system, how they are, and its queue"
    case .balance: "reverse proxy and load balancer; works alone, in front of any HTTP servers"
    case .api: "the HTTP API for hash tasks"
    case .worker: "computes queued tasks"
    case .service: "a small compute service, of which the API asks one for GET /process"
    case .kv: "a server of keys whose values have versions, and what asks one: get, put, export and others"
    case .kvClean: "remove from a store what nobody needs any more"
    case .tasks: "list, show, watch, cancel, retry and purge tasks"
    case .queue: "show what is in the queue; pause, resume and limit kinds of tasks"
    case .workers: "show who works; quiet, resume, limit and stop workers"
    case .cache: "show what the caches hold and do; have them forget"
    case .migrate: "bring the database's schema up to date"
    case .token: "issue and verify tokens, and rotate the keys that they are signed with"
    case .bench: "measure the task queue alone, on a database of its own"
    case .config: "print every setting of a role, its value and where it came from"
    case .doctor: "look for what is missing and say the command that mends it"
    case .healthcheck: "ask a running role whether it is ready; for containers and scripts"
    case .version: "print the version"
    }
  }

  /// What it takes beside flags, in the language of usage lines.
  var operands: [String] {
    switch self {
    case .config: ["[COMMAND]"]
    case .healthcheck: ["[URL]"]
    case .tasks: [TasksAction.allCases.map(\.rawValue).joined(separator: "|"), "[ID]..."]
    case .queue: [QueueAction.allCases.map(\.rawValue).joined(separator: "|"), "[KIND]", "[NUMBER|off]"]
    case .workers: [WorkersAction.allCases.map(\.rawValue).joined(separator: "|"), "[NAME|ID]", "[NUMBER|off]"]
    case .kv: [KeyValueAction.allCases.map(\.rawValue).joined(separator: "|"), "[KEY|PREFIX|SERVER|FOLDER]", "[VALUE]"]
    case .cache: [CacheAction.allCases.map(\.rawValue).joined(separator: "|"), "[KEY]"]
    case .token: [TokenAction.allCases.map(\.rawValue).joined(separator: "|"), "[TOKEN]"]
    default: []
    }
  }

  /// How many operands it takes at the most.
  var operandsMax: Int { operands.last?.hasSuffix("...") == true ? .max : operands.count }

  /// Whether a signal stops it in good order.
  var watchesSignals: Bool { [.up, .balance, .api, .worker, .service, .kv, .bench].contains(self) }

  /// Command lines that show what it is good for.
  var examples: [(line: String, meaning: String)] {
    switch self {
    case .up:
      [
        ("millrace up", "1 balancer, 3 API processes, 3 workers, 2 services, 2 servers of keys on port 8000"),
        ("millrace up --port 9000 --workers 8 --data /var/lib/millrace", "elsewhere, with more workers"),
        ("millrace up --rate-limit 0", "without the rate limit, to measure it"),
      ]
    case .status:
      [
        (
          "millrace status",
          "of the system that was started in this folder; 0 if all is well, 1 if not, 75 if none runs"
        ),
        ("millrace status --data /var/lib/millrace", "of another one"),
        ("kill $(millrace status | awk '$1 == \"worker-1\" { print $2 }')", "the process of one worker"),
      ]
    case .balance:
      [
        ("millrace balance --backend 10.0.0.1:8080 --backend 10.0.0.2:8080", "in front of two servers"),
        (
          "millrace balance --backend big=10.0.0.1:8080*3 --backend small=unix:/run/app.sock --strategy weighted",
          "named, weighted, one on a Unix socket"
        ),
      ]
    case .api:
      [
        (
          "DB_HOST=db REDIS_HOST=cache SECRET_KEY_FILE=secret.key millrace api --listen 0.0.0.0:8080",
          "one API process"
        )
      ]
    case .worker:
      [
        (
          "DB_HOST=db REDIS_HOST=cache SECRET_KEY_FILE=secret.key millrace worker --worker-name worker-7",
          "one more worker"
        )
      ]
    case .service:
      [
        ("millrace service --port 8081 --service-id service-1", "one service; --service 127.0.0.1:8081 tells the API"),
        ("millrace service --port 8082 --process-delay-ms 3000", "a slow one, to see what becomes of requests"),
      ]
    case .kv:
      [
        ("millrace kv --name server-1 --port 8080", "one server, with a store in .millrace/kv"),
        ("millrace kv put greeting '{\"text\":\"hello\"}'", "the next version of a key, at the server on port 8000"),
        ("millrace kv get greeting --version 1 --kv-url http://127.0.0.1:8080", "an old one, at another server"),
        ("millrace kv export > store.ndjson", "all versions of all keys, a line each, also beside a server"),
        ("millrace kv import --kv-data other --partitions 16 < store.ndjson", "into another store, which is made"),
        ("millrace kv backup /backup/kv", "a copy that a server can use"),
      ]
    case .kvClean:
      [
        ("millrace kv-clean --dry-run", "how much there is that nobody needs"),
        ("millrace kv-clean --confirm", "remove it, while no server has the store"),
      ]
    case .tasks:
      [
        (
          "millrace tasks ls --status failed",
          "the newest tasks that failed, of the system that 'up' runs in this folder"
        ),
        ("millrace tasks show 17", "all there is to know of one, its result too, as JSON"),
        ("millrace tasks watch 17", "until it is over; 0 if it was completed, 1 if not"),
        ("millrace tasks cancel 17 18", "whether they wait or run"),
        ("millrace tasks retry --status failed", "all that failed and whose input is still there"),
        ("DB_HOST=db millrace tasks purge --older-than 86400 --dry-run", "how many are over for a day"),
      ]
    case .queue:
      [
        ("millrace queue stats", "what waits, how long already, and what is held up"),
        ("millrace queue pause md5", "tasks of this kind wait until 'resume'; they are taken all the same"),
        ("millrace queue limit argon2 2", "two at once, over all workers; 'off' for as many as there are slots"),
      ]
    case .workers:
      [
        ("millrace workers ls", "who there is, and what each is doing"),
        ("millrace workers quiet worker-2", "it finishes what it has and claims nothing more until 'resume'"),
        ("millrace workers limit worker-2 4", "so many long and heavy tasks at once; 'off' for all its slots"),
        ("millrace workers stop 7", "the one of this number finishes what it has and ends"),
      ]
    case .cache:
      [
        ("millrace cache stats", "hits and misses of each level, and why values went"),
        ("millrace cache get my_key", "an entry that was put with PUT /cache/my_key, and the level that had it"),
        ("millrace cache invalidate my_data", "in every level of every process; 'user:*' for all that begin so"),
        ("MILLRACE_TOKEN=… millrace cache clear --url http://10.0.0.1:8000", "everything; needs an admin's token"),
      ]
    case .migrate:
      [("DB_HOST=db DB_PASSWORD_FILE=password millrace migrate", "before the first start, and after updates")]
    case .token:
      [
        (
          "millrace token issue --scope admin --token-ttl 600",
          "for an admin of the system that 'up' runs in this folder"
        ),
        (
          "millrace token issue --subject ann | millrace token verify",
          "what a token says; 0 if it is believed, 1 if not"
        ),
        ("millrace token rotate", "a new key signs, and what the former has signed is good until it has expired"),
        (
          "millrace token rotate --algorithm ed25519 --token-keys-file /etc/millrace/token.keys",
          "make a file of keys for processes that are started one by one, or rotate those in it"
        ),
        (
          "millrace token public > believers.keys",
          "what verifies Ed25519 tokens and cannot sign any, for the balancer say"
        ),
      ]
    case .bench:
      [
        ("DB_HOST=$PWD/.millrace/run DB_USER=millrace millrace bench", "on a running system's PostgreSQL"),
        ("DB_HOST=db DB_NAME=bench millrace bench", "after 'createdb bench': in that database, which is kept"),
      ]
    case .config:
      [
        ("millrace config api", "what an API process started here would use"),
        ("millrace config --markdown", "every setting, as a table for documents"),
        ("millrace config --manual | man -l -", "all commands and settings, as a page for man"),
        ("source <(millrace config --completions)", "let bash complete commands and flags"),
      ]
    case .doctor: [("millrace doctor", "before the first start, or when something is odd")]
    case .healthcheck: [("millrace healthcheck http://127.0.0.1:8000/readyz", "exit code 0 if ready, 1 if not")]
    case .version: []
    }
  }
}

/// What a command line ends with (75 and 78 after sysexits.h).
enum ExitCode {
  static let success: Int32 = 0
  static let failure: Int32 = 1
  static let usage: Int32 = 2
  static let unavailable: Int32 = 75
  static let configuration: Int32 = 78
}

/// A command that cannot be carried out: what to tell the person, and the exit code.
struct CommandError: Error, Equatable {
  let message: String
  let exitCode: Int32

  static func usage(_ message: String) -> CommandError { CommandError(message: message, exitCode: ExitCode.usage) }
  static func configuration(_ message: String) -> CommandError {
    CommandError(message: message, exitCode: ExitCode.configuration)
  }
}
