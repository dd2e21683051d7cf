import Glibc

/// Where a partition is, and what it has to be.
struct PartitionPlace: Sendable {
  let folder: String
  let partition: Int
  let partitions: Int

  var path: String { "\(folder)/partition-\(partition).sqlite" }
  var lockPath: String { "\(folder)/partition-\(partition).lock" }

  /// Bytes of the file and of its log.
  var bytes: Int64 {
    [path, path + "-wal"].reduce(0) { sum, path in
      var status = stat()
      return stat(path, &status) == 0 ? sum + Int64(status.st_size) : sum
    }
  }
}
