module dr-runbooks/lab/pause

go 1.21
