// ZeroMQ, PUSH to PULL over ipc.
#include <zmq.h>

#include "rival.hpp"
using namespace rival;

template <class S>
struct Link {
    void* socket;
    Link(const Job& job, const char* name, bool sender, bool) {
        static void* context = zmq_ctx_new();
        socket = zmq_socket(context, sender ? ZMQ_PUSH : ZMQ_PULL);
        int only_connected = 1, retry = 1; // ms
        zmq_setsockopt(socket, ZMQ_IMMEDIATE, &only_connected, sizeof only_connected);
        zmq_setsockopt(socket, ZMQ_RECONNECT_IVL, &retry, sizeof retry);
        std::string at = "ipc://" + job.dir + "/" + name;
        if ((sender ? zmq_connect(socket, at.c_str()) : zmq_bind(socket, at.c_str())) != 0) fail(at);
        zmq_pollitem_t connected{socket, 0, ZMQ_POLLOUT, 0};
        if (sender && zmq_poll(&connected, 1, -1) < 0) fail(at);
    }
    void send(const S& m) {
        if (zmq_send(socket, m.bytes, m.len(), 0) < 0) fail("zmq_send");
    }
    void recv(S& m) {
        int n = zmq_recv(socket, m.bytes, S::max, 0);
        if (n < 0) fail("zmq_recv");
        m.resize(n);
    }
};
RIVAL(Link, 1 << 20)
