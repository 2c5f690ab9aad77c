"""Mail: what people must be told is read from the logs (`herald`), put into words (`letters`) and sent
(`sender`, by `server`).
"""
