//! FlyRPC clients and servers on blocking std sockets and threads
