// An origin for measurements: answers every request head with the same small JSON. One thread, level-triggered epoll.
// usage: origin PORT, or origin /path/of/socket
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

int main(int count, char **arguments) {
  if (count != 2) {
    fprintf(stderr, "usage: origin PORT, or origin /path/of/socket\n");
    return 2;
  }
  static const char reply[] =
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 36\r\n\r\n"
      "{\"told by\":\"origin\",\"partitions\":8}\n";
  static char bytes[1 << 16];
  int yes = 1, epoll = epoll_create1(EPOLL_CLOEXEC);
  struct sockaddr_in address = {AF_INET, htons((unsigned short)atoi(arguments[1])), {htonl(INADDR_LOOPBACK)}, {0}};
  struct sockaddr_un path = {AF_UNIX, {0}};
  int is_unix = arguments[1][0] == '/';
  if (is_unix) strncpy(path.sun_path, arguments[1], sizeof path.sun_path - 1);
  int door = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr *at = is_unix ? (struct sockaddr *)&path : (struct sockaddr *)&address;
  if (bind(door, at, is_unix ? sizeof path : sizeof address) < 0 || listen(door, 1024) < 0) {
    perror("origin");
    return 1;
  }
  struct epoll_event wish = {EPOLLIN, {.fd = door}}, events[128];
  epoll_ctl(epoll, EPOLL_CTL_ADD, door, &wish);
  while (1) {
    int ready = epoll_wait(epoll, events, 128, -1);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      if (fd == door) {
        int client = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) continue;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        wish.data.fd = client;
        epoll_ctl(epoll, EPOLL_CTL_ADD, client, &wish);
        continue;
      }
      ssize_t length = recv(fd, bytes, sizeof bytes, 0);
      if (length <= 0) {
        close(fd);
        continue;
      }
      // Proxies send whole heads, several at a time when they pipeline.
      char *rest = bytes, *end;
      while ((end = memmem(rest, (size_t)(bytes + length - rest), "\r\n\r\n", 4))) {
        if (send(fd, reply, sizeof reply - 1, MSG_NOSIGNAL) < 0) break;
        rest = end + 4;
      }
    }
  }
}
