// nng, push to pull over ipc.
#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>

#include "rival.hpp"
using namespace rival;

template <class S>
struct Link {
    nng_socket socket;
    static void must(int err, const char* what) {
        if (err) {
            fprintf(stderr, "%s: %s\n", what, nng_strerror(err));
            exit(1);
        }
    }
    Link(const Job& job, const char* name, bool sender, bool) {
        std::string at = "ipc://" + job.dir + "/" + name;
        must(sender ? nng_push0_open(&socket) : nng_pull0_open(&socket), "open");
        must(nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, 0), "no limit");
        if (!sender) {
            must(nng_listen(socket, at.c_str(), nullptr, 0), "listen");
            return;
        }
        while (nng_dial(socket, at.c_str(), nullptr, 0) != 0) usleep(1000);
    }
    void send(const S& m) { must(nng_send(socket, const_cast<char*>(m.bytes), m.len(), 0), "send"); }
    void recv(S& m) {
        size_t n = S::max;
        must(nng_recv(socket, m.bytes, &n, 0), "recv");
        m.resize(n);
    }
};
RIVAL(Link, 1 << 20)
