module github.com/nettrace/nettrace

go 1.26.0
