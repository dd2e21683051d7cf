import Foundation
import TestSupport
import Redis
import Testing

@testable import Millrace

private func configuration(
  _ command: Command, _ arguments: [String] = [], _ environment: [String: String] = [:],
  files: [String: String] = [:]
) throws -> Configuration {
  try Configuration(
    for: command,
    .init(arguments: arguments, environment: environment, readFile: { files[$0].map { .text($0) } ?? .missing }))
}

@Suite(.timeLimit(.minutes(15))) struct ConfigurationTests {
  @Test func flagBeatsEnvironmentBeatsDotEnvBeatsDefault() throws {
    let files = [".env": "RATE_LIMIT_REQUESTS=3\nCACHE_TTL=4\n"]
    let all = try configuration(.up, ["--rate-limit", "1"], ["RATE_LIMIT_REQUESTS": "2"], files: files)
    #expect(all.integer(.rateLimit) == 1 && all.source(of: .rateLimit) == .flag)
    let environment = try configuration(.up, [], ["RATE_LIMIT_REQUESTS": "2"], files: files)
    #expect(environment.integer(.rateLimit) == 2)
    #expect(environment.source(of: .rateLimit) == .variable("RATE_LIMIT_REQUESTS"))
    let dotEnv = try configuration(.up, [], [:], files: files)
    #expect(dotEnv.integer(.rateLimit) == 3 && dotEnv.source(of: .rateLimit) == .dotEnv)
    #expect(try configuration(.balance, [], [:], files: files).integer(.rateLimit) == 100)
    // Who issues tokens does it as the system that was started here would.
    #expect(try configuration(.token, files: [".env": "JWT_ISSUER=mill"]).text(.tokenIssuer) == "mill")
  }

  @Test func aSecretCanComeFromAFileWithoutItsLineEnd() throws {
    let files = ["/run/token": "s3cret\n"]
    let fromFile = try configuration(.api, [], ["ADMIN_TOKEN_FILE": "/run/token"], files: files)
    #expect(fromFile.text(.adminToken) == "s3cret")
    let both = try configuration(.api, [], ["ADMIN_TOKEN_FILE": "/run/token", "ADMIN_TOKEN": "own"], files: files)
    #expect(both.text(.adminToken) == "own")
    #expect(throws: CommandError.configuration("ADMIN_TOKEN_FILE: cannot read '/gone': there is no such file")) {
      try configuration(.api, [], ["ADMIN_TOKEN_FILE": "/gone"])
    }
  }

  @Test func listsGrowWithEveryFlagAndFlagsCanBeSetOrNot() throws {
    let some = try configuration(
      .balance, ["--backend", "a:1", "--backend=b:2,c:3", "--expose-backend", "--port", "9"], ["BACKENDS": "no:1"])
    #expect(some.list(.backends) == ["a:1", "b:2", "c:3"])
    #expect(some.isOn(.exposeBackend))
    #expect(some.integer(.port) == 9)
    #expect(try !configuration(.balance, ["--expose-backend", "off"]).isOn(.exposeBackend))
    let strategy = try configuration(.balance, [], ["LB_STRATEGY": "Least-Connections"]).choice(.strategy)
    #expect(strategy == "least_connections")
  }

  @Test(arguments: [
    (["--prot", "1"], 2 as Int32, "--port"), (["--port", "0"], 2, "1 to 65535"), (["--port"], 2, "needs a value"),
    (["-p", "1"], 2, "unknown flag '-p' for 'millrace balance'"),
    (["--strategy", "leastconnections"], 2, "least_connections"),
    (["--backends", "x"], 2, "--backend"), (["--worker-name", "x"], 2, "unknown flag"),
  ])
  func aWrongFlagNamesTheNearestRightOne(arguments: [String], code: Int32, hint: String) {
    let error = #expect(throws: CommandError.self) { try configuration(.balance, arguments) }
    #expect(error?.exitCode == code)
    #expect(error?.message.contains(hint) == true)
  }

  @Test(arguments: [
    (["MILLRACE_PROT": "1"], "MILLRACE_PORT"), (["MILLRACE_WORKER": "2"], "MILLRACE_WORKERS"),
    (["RATE_LIMIT_REQUESTS": "many"], "'many' is not a whole number of at least 0"),
    (["LB_STRATEGY": "fastest"], "round_robin,"),
    (["LB_EXPOSE_BACKEND": "perhaps"], "on or off"),
  ])
  func aWrongVariableStopsTheStart(environment: [String: String], hint: String) {
    let error = #expect(throws: CommandError.self) { try configuration(.balance, [], environment) }
    #expect(error?.exitCode == 78)
    #expect(error?.message.contains(hint) == true)
  }

  @Test func aSecretNeverStandsInAnErrorOrInTheConfigTool() throws {
    let environment = ["ADMIN_TOKEN": "hunter2", "DB_PASSWORD": "hunter2", "REDIS_URL": "redis://:hunter2@h:1"]
    for command in ["up", "balance", "api", "worker"] {
      let text = try ConfigTool.run(.init(arguments: [command], environment: environment, readFile: { _ in .missing }))
      #expect(!text.contains("hunter2"))
      if command != "worker" { #expect(text.contains("********")) }
    }
  }

  @Test func secretsAmongFlagsAreFoundWhereverTheyStand() {
    let line = ["up", "--admin-token", "hunter2", "--port=1", "--admin-token=hunter3", "--db-password", "--x", "end"]
    let places = SecretFlags.places(in: line)
    #expect(places.map(\.index) == [2, 4, 6] && places.map(\.from) == [0, 14, 0])
  }

  @Test func theManualAndTheCompletionsKnowEveryCommandAndFlag() async throws {
    for setting in Setting.all {
      #expect(Manual.page.contains(setting.name.replacing("-", with: "\\-")), "\(setting.name)")
      #expect(Manual.completions.contains("--\(setting.name)"), "\(setting.name)")
    }
    for command in Command.allCases {
      #expect(Manual.page.contains(".B \(command.rawValue)\n") && Manual.completions.contains("\(command.rawValue)) "))
    }
    let words = "COMP_WORDS=(millrace balance --strategy we); COMP_CWORD=3"
    let script = "source /dev/stdin; \(words); _millrace; echo $COMPREPLY"
    let file = TemporaryFolder()
    try Manual.completions.write(toFile: file.path + "/completions", atomically: false, encoding: .utf8)
    #expect(try await shell("bash -c '\(script)' < \(file.path)/completions") == "weighted\n")
  }

  @Test func settingsAreNamedOnceAndTheirDefaultsAreValid() {
    #expect(Set(Setting.all.map(\.name)).count == Setting.all.count)
    #expect(Set(Setting.all.map(\.variable)).count == Setting.all.count)
    for setting in Setting.all {
      #expect(!setting.commands.isEmpty, "\(setting.name) is used by nobody")
      if let value = setting.defaultValue { #expect(setting.problem(with: value) == nil) }
    }
  }

  @Test func theNamesThatUsersHaveAreKnown() {
    let known = Set(Setting.all.map(\.variable))
    let names = """
      DB_NAME DB_USER DB_PASSWORD DB_HOST DB_PORT DB_CONNECTION_RETRIES DB_BASE_BACKOFF DB_USER_CONNECTION_LIMIT \
      APP_NAME WORKER_NAME LB_STRATEGY RATE_LIMIT_REQUESTS RATE_LIMIT_WINDOW GATEWAY_ID \
      SERVICE_ID SERVICES PROCESS_DELAY_MS CACHE_TTL BACKENDS ADMIN_TOKEN
      """
    for name in names.split(separator: " ") { #expect(known.contains(String(name)), "\(name)") }
  }

  @Test func whatUpWasToldReachesTheRolesAndDefaultsDoNot() throws {
    let up = try configuration(.up, ["--rate-limit", "0", "--log-level", "debug"], ["ARGON2_TIME_COST": "2"])
    #expect(
      up.environment(for: .balance)
        == ["RATE_LIMIT_REQUESTS": "0", "MILLRACE_LOG_LEVEL": "debug", "ADMIN_TRUST_LOOPBACK": "on"])
    #expect(up.environment(for: .worker) == ["ARGON2_TIME_COST": "2", "MILLRACE_LOG_LEVEL": "debug"])
  }

  @Test func whatDotEnvSaysOfARoleReachesIt() throws {
    let lines = [
      "ADMIN_TRUST_LOOPBACK=off", "MILLRACE_REACTORS=2", "MILLRACE_HEALTH_PATH=/livez", "DB_CONNECTION_RETRIES=7",
      "DB_BASE_BACKOFF=0.25", "DB_USER_CONNECTION_LIMIT=5", "APP_NAME=mill",
    ]
    let up = try configuration(.up, files: [".env": lines.joined(separator: "\n")])
    let told = [Command.migrate, .balance, .api, .worker].map { up.environment(for: $0) }
    for line in lines {
      let parts = line.split(separator: "=").map(String.init)
      #expect(told.contains { $0[parts[0]] == parts[1] }, "\(line)")
    }
    #expect(told[0]["DB_CONNECTION_RETRIES"] == "7" && told[2]["ADMIN_TRUST_LOOPBACK"] == "off")
  }

  @Test func anElementOfAListKeepsItsBlanks() throws {
    let api = try configuration(.api, ["--listen", " unix:/home/me/my projects/a.sock , 127.0.0.1:1,,"])
    #expect(api.list(.listen) == ["unix:/home/me/my projects/a.sock", "127.0.0.1:1"])
  }

  @Test func aMistypedSecretIsNotRepeated() {
    let error = #expect(throws: CommandError.self) { try configuration(.api, ["--admin-tokn=hunter2"]) }
    #expect(error?.message == "unknown flag '--admin-tokn' for 'millrace api'; did you mean '--admin-token'?")
  }

  @Test func aWorkerGetsTheConnectionsThatItNeeds() {
    let error = #expect(throws: CommandError.self) { try configuration(.worker, [], ["DB_USER_CONNECTION_LIMIT": "2"]) }
    #expect(error?.exitCode == 78)
  }

  @Test func redisURLsAreUnderstood() throws {
    let full = try Configuration.redis("redis://ann:p:w@[::1]:7000/3")
    #expect(full.endpoint == "[::1]:7000" && full.user == "ann" && full.password == "p:w" && full.database == 3)
    #expect(try Configuration.redis("redis://cache").endpoint == "cache:6379")
    #expect(try Configuration.redis("redis://:pw@cache:1").password == "pw")
    #expect(try Configuration.redis("redis://:p%40%2F%25w@cache:1").password == "p@/%w")
    #expect(throws: CommandError.self) { try Configuration.redis("redis://:50%@cache") }
    #expect(try Configuration.redis("unix:/run/r.sock").endpoint == "unix:/run/r.sock")
    #expect(throws: CommandError.self) { try Configuration.redis("http://cache") }
    #expect(try configuration(.api, [], ["REDIS_URL": "off"]).redis(clientName: "x") == nil)
    #expect(try Configuration.redis("rediss://cache").endpoint == "cache:6379")
    func redis(_ environment: [String: String]) throws -> RedisConfiguration? {
      try configuration(.api, [], environment).redis(clientName: "x")
    }
    let secure = try redis(["REDIS_URL": "rediss://u:p@[::1]:7"])
    #expect(secure?.tls != nil && secure?.tlsName == "::1")
    let acl = try redis(["REDIS_HOST": "cache", "REDIS_USER": "u", "REDIS_PASSWORD": "p", "REDIS_TLS": "on"])
    #expect(acl?.user == "u" && acl?.tlsName == "cache")
    let watched = try redis(["REDIS_SENTINELS": "a:1, b:2", "REDIS_MASTER": "m", "REDIS_TLS": "on"])
    #expect(watched?.sentinels == ["a:1", "b:2"] && watched?.master == "m" && watched?.tlsName == nil)
    #expect(try redis(["REDIS_CLUSTER": "on"])?.isCluster == true)
    for wrong in [
      ["REDIS_CLUSTER": "on", "REDIS_SENTINELS": "a:1"], ["REDIS_CLUSTER": "on", "REDIS_URL": "redis://h/1"],
      ["REDIS_USER": "u"], ["REDIS_TLS": "on", "REDIS_TLS_CA": "/none"],
      ["REDIS_TLS": "on", "REDIS_TLS_CERT": "/none"],
      ["REDIS_TLS": "on", "REDIS_URL": "unix:/r.sock"],
    ] { #expect(throws: CommandError.self, "\(wrong)") { try redis(wrong) } }
    let parts = try configuration(.api, [], ["REDIS_HOST": "cache", "REDIS_PORT": "7"]).redis(clientName: "x")
    #expect(parts?.endpoint == "cache:7")
  }

  @Test func backendsAreUnderstoodWithNamesWeightsAndHostNames() throws {
    #expect(try Configuration.backend("10.0.0.1:80").name == "10.0.0.1:80")
    let weighted = try Configuration.backend("big=10.0.0.1:80*3")
    #expect(weighted.name == "big" && weighted.weight == 3 && weighted.address.description == "10.0.0.1:80")
    let local = try Configuration.backend("localhost:8080*2")
    #expect(local.name.hasPrefix("localhost:8080") && local.address.isLoopback && local.weight == 2)
    for wrong in ["", "a", "a:", "a=:80", "10.0.0.1:80*0", "no.such.host.invalid:80"] {
      #expect(throws: CommandError.self) { try Configuration.backend(wrong) }
    }
  }
}

@Suite(.timeLimit(.minutes(15))) struct HelpTests {
  @Test func everyCommandHasItsPageWithEveryFlagAndAnExample() {
    for command in Command.allCases {
      #expect(Help.overview.contains("  \(command) "))
      let page = Help.page(for: command)
      for setting in Setting.used(by: command) { #expect(page.contains("--\(setting.name) ")) }
      if command != .version { #expect(page.contains("Examples:")) }
    }
  }

  @Test func spellingFindsTheNearestAndNothingFarAway() {
    #expect(Spelling.distance(Array("kitten".utf8), Array("sitting".utf8)) == 3)
    #expect(Spelling.distance(Array("prot".utf8), Array("port".utf8)) == 1)
    #expect(Spelling.distance([], Array("abc".utf8)) == 3)
    #expect(Spelling.nearest(to: "blance", in: ["balance", "api"]) == "balance")
    #expect(Spelling.nearest(to: "xyzzy", in: ["balance", "api"]) == nil)
  }
}
