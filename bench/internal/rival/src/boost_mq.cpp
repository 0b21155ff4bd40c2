// boost::interprocess::message_queue, blocking as it is meant to be used.
#include <boost/interprocess/ipc/message_queue.hpp>

#include "rival.hpp"
using namespace rival;
namespace bip = boost::interprocess;

template <class S>
struct Link {
    std::unique_ptr<bip::message_queue> q;
    Link(const Job& job, const char* name, bool, bool) {
        // It lives in /dev/shm itself; whoever started us removes what begins with the directory's name.
        std::string id = job.dir.substr(job.dir.rfind('/') + 1) + "." + name;
        q = std::make_unique<bip::message_queue>(bip::open_or_create, id.c_str(), slots<S>, S::max);
    }
    void send(const S& m) { q->send(m.bytes, m.len(), 0); }
    void recv(S& m) {
        size_t n;
        unsigned priority;
        q->receive(m.bytes, S::max, n, priority);
        m.resize(n);
    }
};
RIVAL(Link, 1 << 20)
