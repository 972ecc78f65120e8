/* The fastest way to read a TUN: call read(2) until it would block. */
#include <unistd.h>

/* Return the number of packets read from the non-blocking descriptor fd, and add their bytes to *bytes. */
long drain(int fd, void *buffer, unsigned long size, unsigned long *bytes)
{
    long count = 0;
    ssize_t got;

    while ((got = read(fd, buffer, size)) > 0) {
        count++;
        *bytes += (unsigned long)got;
    }
    return count;
}
