module flyrpc-peer-go-jsonrpc

go 1.19
