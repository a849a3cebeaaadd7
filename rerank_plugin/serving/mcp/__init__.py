"""
`rerank mcp`: searches of an index as tools of the Model Context Protocol.

service.py and documents.py know the tools in the words of the protocol; sdk.py puts them into a server of the official
package, of its first or second version; stdio.py and http.py run that.
"""
