module flyrpc-peer-go

go 1.19
