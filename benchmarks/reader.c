/* The floor of reading a TUN: a bare loop of read(2) until it would block. */
#include <unistd.h>

/* Datagrams read from the non-blocking descriptor fd; their octets are added to *octets. */
long drain(int fd, void *buffer, unsigned long size, unsigned long *octets)
{
    long count = 0;
    ssize_t got;

    while ((got = read(fd, buffer, size)) > 0) {
        count++;
        *octets += (unsigned long)got;
    }
    return count;
}
